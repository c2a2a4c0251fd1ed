//! The call to the sidecar belongs to the client's trace.

use axum::Router;
use bytes::Bytes;
use hyper::HeaderMap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fakes::broken_sidecar::grpc;
use llm_router_tests::host::Host;
use llm_router_tests::{TIMEOUT, for_each_host_inside_envoy, within};
use macro_rules_attribute::apply;
use tokio::sync::mpsc::unbounded_channel;

use crate::support::{assert_routed, without_sidecar};

const TRACE: (&str, &str) = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
const STATE: (&str, &str) = ("tracestate", "vendor=1");

#[apply(for_each_host_inside_envoy!)]
async fn the_call_to_the_sidecar_belongs_to_the_clients_trace(host: Host) {
    let (calls, mut called) = unbounded_channel();
    let sidecar = llm_router_tests::serve(|listener| async {
        let respond = async move |headers: HeaderMap| {
            calls.send(headers).expect("the test goes on");
            grpc(Bytes::new(), "14")
        };
        axum::serve(listener, Router::new().fallback(respond)).await
    });
    let gateway = Envoy::start(&without_sidecar(host).sidecar(sidecar)).await;
    let broken = TRACE.1.replace('f', "x");
    let long = "1".repeat(600);
    for (sent, expected) in [
        (vec![TRACE, STATE], [Some(TRACE.1), Some(STATE.1)]),
        (vec![TRACE], [Some(TRACE.1), None]),
        (vec![], [None, None]),
        (vec![STATE], [None, None]),
        (vec![("traceparent", broken.as_str()), STATE], [None, None]),
        (vec![TRACE, ("tracestate", long.as_str())], [Some(TRACE.1), None]),
    ] {
        let request = Request::chat(chat("auto", "Hi"));
        let request = sent.iter().fold(request, |request, (name, value)| request.header(name, value));
        assert_routed(&gateway.send(request).await, "llama-8b", "classifier_unavailable");
        let headers = within(TIMEOUT, called.recv()).await.expect("a call");
        let header = |name| headers.get(name).map(|value| value.to_str().expect("ASCII"));
        assert_eq!([header(TRACE.0), header(STATE.0)], expected, "{sent:?}");
    }
}

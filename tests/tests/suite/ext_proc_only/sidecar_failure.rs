//! The sidecar fails. Nothing else knows the policy or its default, so requests are forwarded unchanged, on the fallback
//! route. A host inside Envoy takes the policy's default instead: see `shared/sidecar_failure.rs`.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::StatusCode;
use llm_router_proto::envoy::service::ext_proc::v3::{
    HeadersResponse, ProcessingResponse, processing_response::Response,
};
use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fakes::broken_sidecar;
use llm_router_tests::host::Host;
use llm_router_tests::{TIMEOUT, refusing_address, within};
use prost::Message;
use serde_json::{Value, json};

use crate::support::{CODE, bootstrap};

/// Between Envoy's message timeout of 5 s and its other limits of 15 s and more, however busy the machine is.
const PROMPTLY: Duration = Duration::from_secs(10);

#[tokio::test]
async fn without_a_sidecar_requests_go_on_as_they_were_sent() {
    let gateway = Envoy::start(&with_sidecar(refusing_address())).await;
    assert_goes_on(&gateway).await;
}

#[tokio::test]
async fn a_silent_sidecar_is_not_waited_for() {
    let (address, _reads) = broken_sidecar::silent();
    let gateway = Envoy::start(&with_sidecar(address)).await;
    assert_goes_on(&gateway).await;
}

#[tokio::test]
async fn a_sidecar_that_responds_with_nonsense_is_ignored() {
    // The last is RESOURCE_EXHAUSTED.
    let responses = [(b"no message".to_vec(), "0"), (Vec::new(), "0"), (Vec::new(), "8")];
    let (calls, address) = (responses.len(), broken_sidecar::responding(responses.to_vec()));
    let gateway = Envoy::start(&with_sidecar(address)).await;
    for _ in 0..calls {
        assert_goes_on(&gateway).await;
    }
}

#[tokio::test]
async fn a_sidecar_that_speaks_no_grpc_is_ignored() {
    let gateway = Envoy::start(&with_sidecar(broken_sidecar::not_grpc())).await;
    assert_goes_on(&gateway).await;
}

/// Only the sidecar knows `on_failure`.
#[tokio::test]
async fn without_a_sidecar_requests_go_on_even_if_the_policy_would_reject_them() {
    let reject = Host::ExtProc.bootstrap().policy(|it| it["sidecar"]["on_failure"] = json!("reject"));
    let gateway = Envoy::start(&reject.sidecar(refusing_address())).await;
    assert_goes_on(&gateway).await;
}

#[tokio::test]
async fn a_sidecar_that_breaks_off_before_it_has_decided_is_ignored() {
    let response = Some(Response::RequestHeaders(HeadersResponse::default()));
    let headers = ProcessingResponse { response, ..ProcessingResponse::default() }.encode_to_vec();
    // UNAVAILABLE, and an end without a decision.
    let responses = [(headers.clone(), "14"), (headers, "0")];
    let (calls, address) = (responses.len(), broken_sidecar::responding(responses.to_vec()));
    let gateway = Envoy::start(&with_sidecar(address)).await;
    for _ in 0..calls {
        assert_goes_on(&gateway).await;
    }
}

#[tokio::test]
async fn without_a_sidecar_envoy_rejects_requests_if_so_configured() {
    let (silent, _reads) = broken_sidecar::silent();
    for (address, status) in [(refusing_address(), 503), (silent, 504)] {
        let closed = with_sidecar(address).ext_proc(|filter| {
            filter["failure_mode_allow"] = json!(false);
            filter["status_on_error"] = json!({ "code": "ServiceUnavailable" });
        });
        let gateway = Envoy::start(&closed).await;
        let response = within(PROMPTLY, gateway.send(Request::chat(chat("auto", CODE)))).await;
        assert_eq!(response.status, status, "{response:?}");
        response.assert_not_forwarded();
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_the_sidecar_is_called_harms_nobody() {
    let (address, mut reads) = broken_sidecar::silent();
    // No timeout: only the client's leaving can end the wait.
    let bootstrap = Host::ExtProc.bootstrap().with_long_timeouts().sidecar(address);
    let gateway = Envoy::start(&bootstrap.idle_timeout("1s")).await;
    for _ in 0..3 {
        let request = gateway.open(Request::chat(chat("auto", CODE)));
        tokio::select! {
            response = request => panic!("{response:?}"),
            called = within(TIMEOUT, reads.recv()) => assert!(called.is_some()),
        }
        // The request is dropped here, and its connection closed.
    }
    // Nor does Envoy's own response, when it has waited long enough for the sidecar.
    for request in [Request::chat(chat("auto", CODE)), Request::chat(chat("auto", CODE)).http2()] {
        let response = gateway.send(request).await;
        assert_eq!(response.status, StatusCode::GATEWAY_TIMEOUT, "{response:?}");
    }
}

#[tokio::test]
async fn a_response_goes_on_when_the_sidecar_that_reads_it_dies() {
    let unique = |it: &mut Value| it["policies"]["task_router"]["min_confidence"] = json!(0.31);
    let mut gateway = Envoy::start(&bootstrap(Host::ExtProc).await.reading_responses().policy(unique)).await;
    let mut body = chat("auto", CODE);
    body["stream"] = json!(true);
    let request = Request::chat(body);
    let gate = request.hold();
    let open = gateway.open(request);
    gate.release(1);
    let mut response = open.await;
    assert_eq!(response.headers["x-llm-router-model"], "nemotron");
    let mut events = vec![response.next_event().await.expect("an event")];
    gateway.kill_sidecar();
    gate.open();
    events.extend(response.events().await);
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{events:?}");
}

fn with_sidecar(address: SocketAddr) -> Bootstrap {
    Host::ExtProc.bootstrap().sidecar(address)
}

async fn assert_goes_on(gateway: &Envoy) {
    let body = chat("auto", CODE).to_string();
    let spoofed =
        Request::chat(&body).header("x-llm-cluster", "nemotron").header("x-llm-task", "Code Generation");
    let response = within(PROMPTLY, gateway.send(spoofed)).await;
    assert_eq!((response.status.as_u16(), response.header("x-served-by")), (200, "llama-8b"), "{response:?}");
    assert_eq!(response.header("x-llm-router-model"), "");
    let received = response.received();
    assert_eq!(received.body, body);
    assert!(!received.headers.keys().any(|name| name.as_str().starts_with("x-llm-")), "{received:?}");
}

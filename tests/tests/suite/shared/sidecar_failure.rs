//! The sidecar fails, and the host decides without it.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use llm_router_proto::Value as Field;
use llm_router_proto::contract::{
    CONTRACT_VERSION, ClassifyResponse, HeadPrediction, IncompatibleVersion, Version,
};
use llm_router_proto::envoy::service::ext_proc::v3::ProcessingResponse;
use llm_router_proto::structs::{fields, structure};
use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fakes::broken_sidecar;
use llm_router_tests::host::Host;
use llm_router_tests::{TIMEOUT, for_each_host_inside_envoy, poll, refusing_address, within};
use macro_rules_attribute::apply;
use prost::Message;
use serde_json::{Value, json};

use crate::support::{CODE, assert_routed, upstream_model};

/// Between the policy's 200 ms and Envoy's limits of 15 s and more, however busy the machine is.
const PROMPTLY: Duration = Duration::from_secs(10);

#[apply(for_each_host_inside_envoy!)]
async fn without_a_sidecar_the_default_model_is_used(host: Host) {
    let gateway = Envoy::start(&with_sidecar(host, refusing_address())).await;
    assert_falls_back(&gateway).await;
}

#[apply(for_each_host_inside_envoy!)]
async fn a_silent_sidecar_is_not_waited_for(host: Host) {
    let (address, _reads) = broken_sidecar::silent();
    let gateway = Envoy::start(&with_sidecar(host, address)).await;
    assert_falls_back(&gateway).await;
}

#[apply(for_each_host_inside_envoy!)]
async fn a_sidecar_that_responds_with_nonsense_is_ignored(host: Host) {
    let task = |prediction: Field| message([("task", prediction)]);
    let responses = [
        (b"no message".to_vec(), "0"),
        (Vec::new(), "0"),
        (message::<&str>([]), "0"),
        (message([("mood", label("Chatbot".into(), 0.9.into()))]), "0"),
        (task("Chatbot".into()), "0"),
        (task(label(7.0.into(), 0.9.into())), "0"),
        (task(structure([("label", "Chatbot".into())])), "0"),
        (task(label("Chatbot".into(), "high".into())), "0"),
        (task(label("Chatbot".into(), 1.5.into())), "0"),
        (task(label("Chat\r\nx-evil: 1".into(), 0.9.into())), "0"),
        // RESOURCE_EXHAUSTED: the sidecar's queue is full.
        (Vec::new(), "8"),
    ];
    let (calls, address) = (responses.len(), broken_sidecar::responding(responses.to_vec()));
    let gateway = Envoy::start(&with_sidecar(host, address).with_long_timeouts()).await;
    for _ in 0..calls {
        assert_falls_back(&gateway).await;
    }
}

#[apply(for_each_host_inside_envoy!)]
async fn a_sidecar_that_speaks_no_grpc_is_ignored(host: Host) {
    let gateway = Envoy::start(&with_sidecar(host, broken_sidecar::not_grpc()).with_long_timeouts()).await;
    assert_falls_back(&gateway).await;
}

#[apply(for_each_host_inside_envoy!)]
async fn a_warning_has_the_message_of_the_sidecars_status(host: Host) {
    // The second is not UTF-8.
    for message in [&b"no such classifier"[..], b"no such classifier\xff"] {
        let address = broken_sidecar::failing("3", HeaderValue::from_bytes(message).expect("a value"));
        let gateway = Envoy::start(&with_sidecar(host, address).with_long_timeouts()).await;
        assert_falls_back(&gateway).await;
        gateway.log_has("the sidecar's gRPC status is 3: no such classifier").await;
        // The filter has not crashed.
        assert_falls_back(&gateway).await;
    }
}

#[apply(for_each_host_inside_envoy!)]
async fn a_sidecar_of_another_major_version_is_ignored_with_a_warning_that_says_what_to_upgrade(host: Host) {
    let version = Version { major: CONTRACT_VERSION.major + 1, minor: 0 };
    let label = "Code Generation".to_owned();
    let prediction = HeadPrediction::Label { label, confidence: 0.9, scores: Vec::new() };
    let predictions = vec![("task".to_owned(), prediction)];
    let response = ClassifyResponse { version, predictions, coverage: None };
    let dynamic_metadata = Some(response.into_metadata());
    let response = ProcessingResponse { dynamic_metadata, ..ProcessingResponse::default() }.encode_to_vec();
    let address = broken_sidecar::responding(vec![(response, "0")]);
    let gateway = Envoy::start(&with_sidecar(host, address).with_long_timeouts()).await;
    assert_falls_back(&gateway).await;
    let warning = IncompatibleVersion { filter: CONTRACT_VERSION, sidecar: version };
    gateway.log_has(&warning.to_string()).await;
}

#[apply(for_each_host_inside_envoy!)]
async fn a_label_that_the_policy_does_not_know_goes_to_the_default_model(host: Host) {
    let poetry = message([("task", label("Poetry".into(), 0.9.into()))]);
    let address = broken_sidecar::responding(vec![(poetry, "0")]);
    let gateway = Envoy::start(&with_sidecar(host, address).with_long_timeouts()).await;
    let response = gateway.send(Request::chat(chat("auto", CODE))).await;
    assert_routed(&response, "llama-8b", "default");
    assert_eq!(response.header("x-llm-router-label"), "Poetry");
}

#[apply(for_each_host_inside_envoy!)]
async fn without_a_sidecar_requests_are_rejected_if_so_configured(host: Host) {
    let reject = |it: &mut Value| it["sidecar"]["on_failure"] = json!("reject");
    let gateway = Envoy::start(&with_sidecar(host, refusing_address()).policy(reject)).await;
    let response = gateway.send(Request::chat(chat("auto", CODE))).await;
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").parse::<u32>().is_ok(), "{response:?}");
    assert_eq!(response.json()["error"]["type"], "server_error");
    response.assert_not_forwarded();
}

#[apply(for_each_host_inside_envoy!)]
async fn a_call_to_the_sidecar_ends_with_its_client(host: Host) {
    let (address, mut reads) = broken_sidecar::silent();
    // No timeout: only the client's leaving can end the wait.
    let gateway = Envoy::start(&with_sidecar(host, address).with_long_timeouts()).await;
    for request in [Request::chat(chat("auto", CODE)), Request::chat(chat("auto", CODE)).http2()] {
        let request = gateway.open(request);
        let asked = async { while !contains(&reads.recv().await.expect("a read"), CODE) {} };
        tokio::select! {
            response = request => panic!("{response:?}"),
            () = within(TIMEOUT, asked) => {}
        }
        // The request is dropped here, and its connection closed.
    }
    // Requests of which nobody waits for a classification any more must not keep the sidecar busy.
    poll(async || {
        let stats = gateway.stats().await;
        let of_calls = ["upstream_rq_tx_reset", "upstream_rq_active"].map(|name| {
            let name = format!("envoy_cluster_{name}{{envoy_cluster_name=\"llm-router-sidecar\"}}");
            stats.get(&name).copied()
        });
        if of_calls == [Some(2.0), Some(0.0)] { Ok(()) } else { Err(of_calls) }
    })
    .await;
    let response = gateway.send(Request::chat(chat("llama-70b", CODE))).await;
    assert_routed(&response, "llama-70b", "manual");
}

#[apply(for_each_host_inside_envoy!)]
async fn a_response_by_envoy_while_the_sidecar_is_called_harms_nobody(host: Host) {
    let (address, _reads) = broken_sidecar::silent();
    let timeout = |it: &mut Value| it["sidecar"]["timeout"] = json!("2s");
    let bootstrap = with_sidecar(host, address).with_long_timeouts().policy(timeout);
    let gateway = Envoy::start(&bootstrap.idle_timeout("1s")).await;
    let request = Request::chat(chat("auto", CODE));
    let (http1, http2) = tokio::join!(gateway.send(request.clone()), gateway.send(request.http2()));
    for response in [http1, http2] {
        assert_eq!(response.status, StatusCode::GATEWAY_TIMEOUT, "{response:?}");
    }
    // Nobody waits for the calls any more, but they may still be there until their deadline.
    poll(async || {
        let stats = gateway.stats().await;
        let calls = ["upstream_rq_total", "upstream_rq_active"].map(|name| {
            let name = format!("envoy_cluster_{name}{{envoy_cluster_name=\"llm-router-sidecar\"}}");
            stats.get(&name).copied()
        });
        if calls == [Some(2.0), Some(0.0)] { Ok(()) } else { Err(calls) }
    })
    .await;
    let response = gateway.send(Request::chat(chat("llama-70b", CODE))).await;
    assert_routed(&response, "llama-70b", "manual");
}

#[apply(for_each_host_inside_envoy!)]
async fn a_request_that_needs_no_classifier_does_not_need_the_sidecar(host: Host) {
    let gateway = Envoy::start(&with_sidecar(host, refusing_address())).await;
    let response = gateway.send(Request::chat(chat("llama-70b", CODE))).await;
    assert_routed(&response, "llama-70b", "manual");
}

fn with_sidecar(host: Host, address: SocketAddr) -> Bootstrap {
    host.bootstrap().sidecar(address)
}

async fn assert_falls_back(gateway: &Envoy) {
    let response = within(PROMPTLY, gateway.send(Request::chat(chat("auto", CODE)))).await;
    assert_routed(&response, "llama-8b", "classifier_unavailable");
    assert_eq!(response.header("x-llm-router-label"), "");
    assert_eq!(upstream_model(&response), "meta/llama-3.1-8b-instruct");
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The sidecar's message with these fields as its dynamic metadata, valid or not.
fn message<K: Into<String>>(ours: impl IntoIterator<Item = (K, Field)>) -> Vec<u8> {
    let dynamic_metadata = Some(fields([("llm_router", structure(ours))]));
    ProcessingResponse { dynamic_metadata, ..ProcessingResponse::default() }.encode_to_vec()
}

/// A prediction of this label, valid or not.
fn label(label: Field, confidence: Field) -> Field {
    structure([("label", label), ("confidence", confidence)])
}

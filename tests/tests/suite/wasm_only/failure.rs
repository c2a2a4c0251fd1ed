//! The sidecar fails, and our filter decides without it.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::header::HeaderValue;
use llm_router_proto::Value as Field;
use llm_router_proto::contract::{
    CONTRACT_VERSION, ClassifyResponse, HeadPrediction, IncompatibleVersion, Version,
};
use llm_router_proto::envoy::service::ext_proc::v3::ProcessingResponse;
use llm_router_proto::structs::{fields, structure};
use llm_router_tests::PATIENCE;
use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fleet::FLEET;
use prost::Message;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{CODE, assert_routed, broken_sidecar, received};

/// Only tells the filter's 200 ms from Envoy's 15 s and more, however busy the machine is.
const PROMPTLY: Duration = Duration::from_secs(10);

#[tokio::test]
async fn without_a_sidecar_the_default_model_answers() {
    let gateway = Envoy::start(&with_sidecar(broken_sidecar::absent())).await;
    assert_falls_back(&gateway).await;
}

#[tokio::test]
async fn a_silent_sidecar_is_not_waited_for() {
    let (address, _reads) = broken_sidecar::silent();
    let gateway = Envoy::start(&with_sidecar(address)).await;
    assert_falls_back(&gateway).await;
}

#[tokio::test]
async fn a_sidecar_that_answers_nonsense_is_ignored() {
    let task = |prediction: Field| message([("task", prediction)]);
    let label = |label: Field, confidence: Field| structure([("label", label), ("confidence", confidence)]);
    let answers = [
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
    let (calls, address) = (answers.len(), broken_sidecar::answering(answers.to_vec()));
    let gateway = Envoy::start(&with_sidecar(address).patient()).await;
    for _ in 0..calls {
        assert_falls_back(&gateway).await;
    }
}

#[tokio::test]
async fn a_sidecar_that_speaks_no_grpc_is_ignored() {
    let gateway = Envoy::start(&with_sidecar(broken_sidecar::not_grpc()).patient()).await;
    assert_falls_back(&gateway).await;
}

#[tokio::test]
async fn a_warning_has_the_message_of_the_sidecars_status() {
    // The second is not UTF-8.
    for message in [&b"no such classifier"[..], b"no such classifier\xff"] {
        let address = broken_sidecar::failing("3", HeaderValue::from_bytes(message).expect("a value"));
        let gateway = Envoy::start(&with_sidecar(address).patient()).await;
        assert_falls_back(&gateway).await;
        gateway.log_has("the sidecar's gRPC status is 3: no such classifier").await;
        // The filter has not crashed.
        assert_falls_back(&gateway).await;
    }
}

#[tokio::test]
async fn a_sidecar_of_another_major_version_is_ignored_with_a_warning_that_says_what_to_upgrade() {
    let version = Version { major: CONTRACT_VERSION.major + 1, minor: 0 };
    let label = "Code Generation".to_owned();
    let prediction = HeadPrediction::Label { label, confidence: 0.9, scores: Vec::new() };
    let predictions = vec![("task".to_owned(), prediction)];
    let response = ClassifyResponse { version, predictions, coverage: None };
    let dynamic_metadata = Some(response.into_metadata());
    let message = ProcessingResponse { response: None, dynamic_metadata }.encode_to_vec();
    let address = broken_sidecar::answering(vec![(message, "0")]);
    let gateway = Envoy::start(&with_sidecar(address).patient()).await;
    assert_falls_back(&gateway).await;
    let warning = IncompatibleVersion { filter: CONTRACT_VERSION, sidecar: version };
    gateway.log_has(&warning.to_string()).await;
}

#[tokio::test]
async fn a_label_that_the_policy_does_not_know_goes_to_the_default_model() {
    let poetry = message([("task", structure([("label", "Poetry".into()), ("confidence", 0.9.into())]))]);
    let address = broken_sidecar::answering(vec![(poetry, "0")]);
    let gateway = Envoy::start(&with_sidecar(address).patient()).await;
    let answer = gateway.send(Request::chat(chat("auto", CODE))).await;
    assert_routed(&answer, "llama-8b", "default");
    assert_eq!(answer.header("x-llm-router-label"), "Poetry");
}

#[tokio::test]
async fn without_a_sidecar_requests_are_rejected_if_so_configured() {
    let reject = |it: &mut Value| it["sidecar"]["on_failure"] = json!("reject");
    let gateway = Envoy::start(&with_sidecar(broken_sidecar::absent()).policy(reject)).await;
    let answer = gateway.send(Request::chat(chat("auto", CODE))).await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").parse::<u32>().is_ok(), "{answer:?}");
    assert_eq!(answer.json()["error"]["type"], "server_error");
    assert!(FLEET.received(&answer.id).is_none(), "the request went on to an LLM");
}

#[tokio::test]
async fn a_client_that_leaves_while_the_sidecar_is_asked_harms_nobody() {
    let (address, mut reads) = broken_sidecar::silent();
    // No timeout: only the client's leaving can end the wait.
    let gateway = Envoy::start(&with_sidecar(address).patient()).await;
    for _ in 0..3 {
        let request = gateway.open(Request::chat(chat("auto", CODE)));
        let asked = async { while !contains(&reads.recv().await.expect("a read"), CODE) {} };
        tokio::select! {
            answer = request => panic!("{answer:?}"),
            asked = timeout(PATIENCE, asked) => asked.expect("a call within a minute"),
        }
        // The request is dropped here, and its connection closed.
    }
    let answer = gateway.send(Request::chat(chat("llama-70b", CODE))).await;
    assert_routed(&answer, "llama-70b", "manual");
}

#[tokio::test]
async fn an_answer_by_envoy_while_the_sidecar_is_asked_harms_nobody() {
    let (address, _reads) = broken_sidecar::silent();
    let timeout = |it: &mut Value| it["sidecar"]["timeout"] = json!("2s");
    let gateway = Envoy::start(&with_sidecar(address).patient().policy(timeout).idle_timeout("1s")).await;
    let request = Request::chat(chat("auto", CODE));
    let (http1, http2) = tokio::join!(gateway.send(request.clone()), gateway.send(request.http2()));
    for answer in [http1, http2] {
        assert!(answer.status.is_client_error() || answer.status.is_server_error(), "{answer:?}");
    }
    // Until the sidecar's deadline has passed, which nobody waits for any more.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let answer = gateway.send(Request::chat(chat("llama-70b", CODE))).await;
    assert_routed(&answer, "llama-70b", "manual");
}

#[tokio::test]
async fn a_request_that_needs_no_classifier_does_not_miss_it() {
    let gateway = Envoy::start(&with_sidecar(broken_sidecar::absent())).await;
    let answer = gateway.send(Request::chat(chat("llama-70b", CODE))).await;
    assert_routed(&answer, "llama-70b", "manual");
}

fn with_sidecar(address: SocketAddr) -> Bootstrap {
    FLEET.behind(Bootstrap::wasm()).sidecar(address)
}

async fn assert_falls_back(gateway: &Envoy) {
    let answer =
        timeout(PROMPTLY, gateway.send(Request::chat(chat("auto", CODE)))).await.expect("an answer at once");
    assert_routed(&answer, "llama-8b", "fallback");
    assert_eq!(answer.header("x-llm-router-label"), "");
    let body: Value = serde_json::from_slice(&received(&answer).body).expect("JSON");
    assert_eq!(body["model"], "meta/llama-3.1-8b-instruct");
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The sidecar's message with these fields as its dynamic metadata.
fn message<K: Into<String>>(ours: impl IntoIterator<Item = (K, Field)>) -> Vec<u8> {
    let dynamic_metadata = Some(fields([("llm_router", structure(ours))]));
    ProcessingResponse { response: None, dynamic_metadata }.encode_to_vec()
}

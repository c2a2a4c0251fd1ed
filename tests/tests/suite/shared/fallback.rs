//! There is no classification, though the sidecar is there: it has not the classifier that the policy wants.

use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fleet::FLEET;
use serde_json::{Value, json};

use crate::{CODE, assert_routed, bootstrap, received};

#[tokio::test]
async fn without_a_classification_the_default_model_answers() {
    let gateway = Envoy::start(&bootstrap().await.policy(missing_classifier)).await;
    let answer = gateway.send(Request::chat(chat("auto", CODE))).await;
    assert_routed(&answer, "llama-8b", "fallback");
    assert_eq!(answer.header("x-llm-router-label"), "");
    let body: Value = serde_json::from_slice(&received(&answer).body).expect("JSON");
    assert_eq!(body["model"], "meta/llama-3.1-8b-instruct");
}

#[tokio::test]
async fn without_a_classification_requests_are_rejected_if_so_configured() {
    let reject = |it: &mut Value| {
        missing_classifier(it);
        it["sidecar"]["on_failure"] = json!("reject");
    };
    let gateway = Envoy::start(&bootstrap().await.policy(reject)).await;
    let answer = gateway.send(Request::chat(chat("auto", CODE))).await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").parse::<u32>().is_ok(), "{answer:?}");
    assert_eq!(answer.json()["error"]["type"], "server_error");
    assert!(FLEET.received(&answer.id).is_none(), "the request went on to an LLM");
}

fn missing_classifier(policy: &mut Value) {
    policy["policies"]["task_router"]["classifier"] = json!("mood");
}

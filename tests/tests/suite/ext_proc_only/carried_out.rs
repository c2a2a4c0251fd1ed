//! What only this mode has: one sidecar for all of Envoy's workers, which is shown what Envoy is told to show it.

use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::obedient_sidecar::{labelled, scored};
use crate::{CODE, assert_routed, bootstrap, received, shared_gateway, without_sidecar};

#[test]
fn both_modes_ship_the_same_policy() {
    let policy_of = |bootstrap: Bootstrap| {
        let mut policy = Value::Null;
        drop(bootstrap.policy(|it| policy = it.clone()));
        // Only our filter has it.
        policy.as_object_mut().expect("a policy").remove("filter_state");
        policy
    };
    assert_eq!(policy_of(Bootstrap::native()), policy_of(Bootstrap::wasm()));
}

#[tokio::test]
async fn a_clients_key_reaches_the_llm() {
    let request = Request::chat(chat("auto", CODE)).header("authorization", "Bearer a-key");
    let answer = shared_gateway().await.send(request).await;
    assert_routed(&answer, "nemotron", "classified");
    assert_eq!(received(&answer).headers["authorization"], "Bearer a-key");
}

/// In our filter, each of Envoy's workers has a memory of its own.
#[tokio::test]
async fn the_sidecar_remembers_for_all_of_envoys_workers() {
    let cached = |it: &mut Value| it["cache"] = json!({ "entries": 10 });
    let gateway = Envoy::start(&bootstrap().await.policy(cached)).await;
    assert_routed(&gateway.send(Request::chat(chat("auto", CODE))).await, "nemotron", "classified");
    // Each has a connection of its own, and each connection a worker.
    for _ in 0..8 {
        assert_routed(&gateway.send(Request::chat(chat("auto", CODE))).await, "nemotron", "cached");
    }
}

#[tokio::test]
async fn answers_that_the_sidecar_is_not_shown_are_not_counted() {
    let gateway = Gateway::start(without_sidecar(), 1).await;
    let prompt = labelled("an answer", "Code Generation");
    assert_routed(&gateway.send(Request::chat(chat("auto", &prompt))).await, "nemotron", "classified");
    let stats = gateway.stats().await;
    let requests = "llmrouter_requests_total{llm_policy=\"task_router\",llm_model=\"nemotron\",\
                    llm_reason=\"classified\"}";
    assert_eq!(stats.get(requests), Some(&1.0), "{stats:#?}");
    assert!(!stats.keys().any(|name| name.starts_with("llmrouter_output_tokens")), "{stats:#?}");
}

/// Envoy's routes can match it by range.
#[tokio::test]
async fn a_score_is_a_request_header_of_a_whole_number() {
    let bands = json!({ "classifier": "complexity", "bands": [
        { "up_to": 0.5, "model": "llama-8b" }, { "model": "nemotron" },
    ] });
    let gateway = Gateway::start(without_sidecar().policy(|it| it["policies"]["bands"] = bands), 1).await;
    let answer = gateway.send(Request::chat(chat("bands", &scored("a header", 0.75)))).await;
    assert_routed(&answer, "nemotron", "classified");
    assert_eq!(received(&answer).headers["x-llm-complexity"], "75");
}

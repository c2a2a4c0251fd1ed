//! All workers of an Envoy share one memory.

use std::collections::HashMap;

use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::fakes::scripted_sidecar::labelled;
use llm_router_tests::host::Host;
use llm_router_tests::poll;
use serde_json::{Value, json};

use crate::support::{assert_routed, without_sidecar};

const WORKERS: u32 = 4;
/// Enough for every worker, each on its own connection.
const REQUESTS: usize = 64;

#[tokio::test]
async fn a_prompt_is_classified_once_for_all_workers() {
    let gateway = start(|policy| policy["cache"] = json!({ "entries": 1000 })).await;
    let prompt = labelled("Code Generation");
    let first = gateway.send(Request::chat(chat("auto", &prompt))).await;
    assert_routed(&first, "nemotron", "classified");
    for _ in 0..REQUESTS {
        assert_routed(&gateway.send(Request::chat(chat("auto", &prompt))).await, "nemotron", "cached");
    }
    assert_eq!(gateway.sidecar.times_classified(&prompt), 1);
    assert_all_worked(&gateway.envoy).await;
}

#[tokio::test]
async fn every_worker_knows_which_model_made_a_response() {
    let gateway = start(|_| {}).await;
    let input = |text: &str| json!({ "model": "auto", "input": text });
    let first = gateway.send(Request::post("/v1/responses", input(&labelled("Code Generation")))).await;
    assert_routed(&first, "nemotron", "classified");
    let mut next = input(&labelled("Chatbot"));
    next["previous_response_id"] = first.json()["id"].clone();
    for _ in 0..REQUESTS {
        let response = gateway.send(Request::post("/v1/responses", &next)).await;
        assert_eq!(response.header("x-llm-router-model"), "nemotron", "{response:?}");
    }
    assert_all_worked(&gateway.envoy).await;
}

#[tokio::test]
async fn what_all_workers_counted_is_added_up_exactly() {
    let gateway = start(|_| {}).await;
    let requests = (0..REQUESTS).map(|_| gateway.send(Request::chat(chat("llama-70b", "Hi"))));
    for response in futures_util::future::join_all(requests).await {
        assert_routed(&response, "llama-70b", "manual");
    }
    let name = "llm_router_requests_total{llm_policy=\"none\",llm_model=\"llama-70b\",llm_reason=\"manual\"}";
    poll(async || {
        let count = gateway.envoy.stats().await.get(name).copied();
        if count == Some(REQUESTS as f64) { Ok(()) } else { Err(count) }
    })
    .await;
    assert_all_worked(&gateway.envoy).await;
}

async fn start(change: impl FnOnce(&mut Value)) -> ScriptedGateway {
    ScriptedGateway::start(without_sidecar(Host::Module).policy(change), WORKERS).await
}

/// Checks that every worker got a connection. Otherwise the test proves nothing.
async fn assert_all_worked(gateway: &Envoy) {
    let stats = gateway.stats().await;
    let is_of_workers = |name: &str| {
        name.starts_with("envoy_listener_worker") && name.contains("downstream_cx_total")
            || name.contains("downstream_cx_total") && name.contains("worker_id")
    };
    let connections: HashMap<_, _> = stats.iter().filter(|(name, _)| is_of_workers(name)).collect();
    let working = connections.values().filter(|count| ***count > 0.0).count();
    assert!(working >= WORKERS as usize, "{connections:?}");
}

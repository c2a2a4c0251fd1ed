//! One sidecar for all of Envoy's workers, which sees what Envoy is configured to send it.

use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::fakes::scripted_sidecar::{labelled, scored};
use llm_router_tests::host::Host;
use serde_json::{Value, json};

use crate::support::{CODE, assert_routed, bootstrap, policy_of, without_sidecar};

#[test]
fn every_host_ships_the_same_policy() {
    let mut wasm = policy_of(Bootstrap::wasm());
    // Only our filter has it.
    wasm.as_object_mut().expect("a policy").remove("filter_state");
    assert_eq!(policy_of(Bootstrap::native()), wasm);
}

/// In the Wasm filter, each of Envoy's workers has its own cache.
#[tokio::test]
async fn all_of_envoys_workers_share_one_cache() {
    let cached = |it: &mut Value| it["cache"] = json!({ "entries": 10 });
    let gateway = Envoy::start(&bootstrap(Host::ExtProc).await.policy(cached)).await;
    assert_routed(&gateway.send(Request::chat(chat("auto", CODE))).await, "nemotron", "classified");
    // Each request has its own connection, and each connection a worker.
    for _ in 0..8 {
        assert_routed(&gateway.send(Request::chat(chat("auto", CODE))).await, "nemotron", "cached");
    }
}

#[tokio::test]
async fn responses_that_the_sidecar_does_not_see_are_not_counted() {
    let gateway = ScriptedGateway::start(without_sidecar(Host::ExtProc), 1).await;
    let prompt = labelled("Code Generation");
    assert_routed(&gateway.send(Request::chat(chat("auto", &prompt))).await, "nemotron", "classified");
    let stats = gateway.stats().await;
    let requests = "llm_router_requests_total{llm_policy=\"task_router\",llm_model=\"nemotron\",\
                    llm_reason=\"classified\"}";
    assert_eq!(stats.get(requests), Some(&1.0), "{stats:#?}");
    assert!(!stats.keys().any(|name| name.starts_with("llm_router_output_tokens")), "{stats:#?}");
}

/// Envoy's routes can match it by range.
#[tokio::test]
async fn a_score_is_a_request_header_of_a_whole_number() {
    let bands = json!({ "classifier": "complexity", "bands": [
        { "up_to": 0.5, "model": "llama-8b" }, { "model": "nemotron" },
    ] });
    let gateway = ScriptedGateway::start(
        without_sidecar(Host::ExtProc).policy(|it| it["policies"]["bands"] = bands),
        1,
    )
    .await;
    let response = gateway.send(Request::chat(chat("bands", &scored(0.75)))).await;
    assert_routed(&response, "nemotron", "classified");
    assert_eq!(response.received().headers["x-llm-complexity"], "75");
}

//! A panic in the module ends with the request that it happened to. The module of these tests panics where the header `x-panic`
//! says.

use llm_router_test_support::artifacts::PANICKING_MODULE;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::fakes::scripted_sidecar::labelled;
use llm_router_tests::fresh;
use llm_router_tests::host::Host;
use llm_router_tests::load::Load;
use serde_json::json;

use crate::support::{assert_routed, without_sidecar};

/// Every place where the module calls [`panics`](self) by name.
const PLACES: [&str; 12] = [
    "request_headers",
    "request_body",
    "request_trailers",
    "deciding",
    "classified",
    "call_headers",
    "call_data",
    "call_ended",
    "response_headers",
    "response_body",
    "finish",
    "deciding,recovery",
];

#[tokio::test]
async fn a_panic_while_deciding_is_answered_by_the_policys_rule_for_failures() {
    for place in ["deciding", "classified", "call_headers", "call_data", "call_ended"] {
        let prompt = labelled("Code Generation");
        let request = Request::chat(chat("auto", &prompt)).header("x-panic", place);
        let gateway = start("default").await;
        assert_routed(&gateway.send(request.clone()).await, "llama-8b", "classifier_unavailable");
        let gateway = start("reject").await;
        let response = gateway.send(request).await;
        assert_eq!(response.status, 503, "{place}: {response:?}");
        assert_eq!(response.json()["error"]["code"], "classifier_unavailable");
        response.assert_not_forwarded();
        gateway.envoy.log_has("a bug in the router: panicked at ").await;
        assert!(!gateway.envoy.output().contains(&prompt), "the log quotes a prompt");
    }
}

#[tokio::test]
async fn a_panic_that_leaves_nothing_to_decide_by_is_an_error_in_the_apis_shape() {
    let gateway = start("default").await;
    for place in ["request_headers", "request_body", "deciding,recovery"] {
        let request = |path| Request::post(path, chat("llama-70b", "Hi")).header("x-panic", place);
        let response = gateway.send(request("/v1/chat/completions")).await;
        assert_eq!(response.status, 500, "{place}: {response:?}");
        assert_eq!(response.json()["error"]["code"], "internal_error");
        response.assert_not_forwarded();
        let response = gateway.send(request("/v1/messages")).await;
        assert_eq!(response.json()["error"]["type"], "api_error", "{place}");
    }
}

#[tokio::test]
async fn a_panic_about_a_response_changes_nothing_of_it() {
    let gateway = start("default").await;
    for place in ["response_headers", "response_body", "finish"] {
        let request = Request::chat(chat("llama-70b", "Hi")).header("x-panic", place);
        let response = gateway.send(request).await;
        assert_eq!((response.status.as_u16(), response.header("x-served-by")), (200, "llama-70b"), "{place}");
    }
}

#[tokio::test]
async fn no_panic_harms_another_request_or_a_worker() {
    let gateway = start("default").await;
    let bystanders = Load::start(gateway.envoy.address(), 3, || Request::chat(chat("llama-70b", "Hi")));
    for _ in 0..20 {
        for place in PLACES {
            let request = Request::chat(chat("auto", &labelled("Code Generation"))).header("x-panic", place);
            gateway.send(request).await;
        }
    }
    let outcome = bystanders.stop().await;
    outcome.assert_all_served();
    assert_eq!(outcome.with("x-llm-router-reason", "manual"), outcome.responses.len());
}

async fn start(on_failure: &str) -> ScriptedGateway {
    let bootstrap = without_sidecar(Host::Module).module_file(&fresh(&PANICKING_MODULE));
    let bootstrap = bootstrap.policy(|policy| policy["sidecar"]["on_failure"] = json!(on_failure));
    ScriptedGateway::start(bootstrap, 2).await
}

//! Other spellings of paths. LLM servers accept them, so they must not bypass the policy.

use hyper::Method;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::for_each_host;
use llm_router_tests::host::Host;
use macro_rules_attribute::apply;

use crate::support::{CODE, SPELLINGS, assert_routed, bootstrap, shared_gateway};

#[apply(for_each_host!)]
async fn every_spelling_is_routed_and_goes_on_in_the_usual_one(host: Host) {
    let gateway = shared_gateway(host).await;
    assert_all_routed(&gateway).await;
}

#[apply(for_each_host!)]
async fn every_spelling_is_routed_where_envoy_normalizes_nothing(host: Host) {
    let gateway = Envoy::start(&bootstrap(host).await.keeping_paths()).await;
    assert_all_routed(&gateway).await;
}

#[apply(for_each_host!)]
async fn a_path_that_servers_resolve_differently_is_rejected(host: Host) {
    let gateway = Envoy::start(&bootstrap(host).await.keeping_paths()).await;
    for path in ["/v1/chat/completions//..", "/v1/chat/completions/a%2Fb/.."] {
        let response = gateway.send(Request::post(path, chat("auto", CODE))).await;
        assert_eq!(
            (response.status.as_u16(), &response.json()["error"]["type"]),
            (400, &"invalid_request_error".into())
        );
        response.assert_not_forwarded();
    }
}

#[apply(for_each_host!)]
async fn a_client_without_v1_or_of_azure_is_routed(host: Host) {
    let gateway = shared_gateway(host).await;
    for (path, at) in [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1beta/openai/chat/completions?x=1", "/v1/chat/completions?x=1"),
        ("/openai/v1/chat/completions?api-version=1", "/openai/v1/chat/completions?api-version=1"),
    ] {
        let response = gateway.send(Request::post(path, chat("llama-70b", CODE))).await;
        assert_routed(&response, "llama-70b", "manual");
        assert_eq!(response.received().path, at);
    }
    let path = "/openai/deployments/llama-70b/chat/completions?api-version=2024-10-21";
    for body in [chat("auto", CODE), serde_json::json!({ "messages": chat("", CODE)["messages"] })] {
        let response = gateway.send(Request::post(path, body)).await;
        assert_routed(&response, "llama-70b", "manual");
        assert_eq!(response.received().path, "/v1/chat/completions?api-version=2024-10-21");
    }
    let unknown = gateway.send(Request::new(Method::POST, "/v1/chat/completions/x", "{}")).await;
    assert_eq!(unknown.header("x-llm-router-model"), "");
}

async fn assert_all_routed(gateway: &Envoy) {
    for path in SPELLINGS {
        let path = format!("{path}?x=%41");
        for request in [
            Request::post(&path, chat("llama-70b", CODE)),
            Request::post(&path, chat("llama-70b", CODE)).http2(),
        ] {
            let response = gateway.send(request).await;
            assert_routed(&response, "llama-70b", "manual");
            assert_eq!(response.received().path, "/v1/chat/completions?x=%41", "{path}");
        }
    }
}

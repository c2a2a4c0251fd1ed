//! Routes that match the model's name in a header of the policy's choice, as those of the Gateway API Inference Extension do.

use hyper::Method;
use llm_router_tests::client::{Request, Response, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::fakes::scripted_sidecar::labelled;
use llm_router_tests::for_each_host;
use llm_router_tests::host::{Host, PerHost};
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{assert_routed, upstream_model, without_sidecar};

const HEADER: &str = "x-gateway-model-name";
const NEMOTRON: &str = "nvidia/llama-3.3-nemotron-super-49b-v1";

async fn gateway(host: Host) -> &'static ScriptedGateway {
    static SHARED: PerHost<ScriptedGateway> = PerHost::new();
    let bootstrap = || without_sidecar(host).routing_by_model_header(HEADER);
    SHARED.get_or_start(host, || ScriptedGateway::start(bootstrap(), 1)).await
}

/// The header's values as the LLM received them.
fn received(response: &Response) -> Vec<String> {
    let received = response.received();
    received.headers.get_all(HEADER).iter().map(|value| value.to_str().expect("text").to_owned()).collect()
}

#[apply(for_each_host!)]
async fn it_has_the_name_that_the_llm_is_asked_for(host: Host) {
    let gateway = gateway(host).await;
    let embeddings = json!({ "model": "nemotron", "input": "Hi" });
    for (request, model, reason) in [
        (Request::chat(chat("auto", &labelled("Code Generation"))), "nemotron", "classified"),
        (Request::chat(chat("auto", &labelled("Chatbot"))).http2(), "llama-8b", "classified"),
        (Request::chat(chat("llama-70b", "Hi")), "llama-70b", "manual"),
        (Request::chat(chat("gpt-4o", "Hi")), "llama-70b", "alias"),
        (Request::post("/v1/embeddings", embeddings), "nemotron", "manual"),
    ] {
        // A client's own header has no effect.
        let response =
            gateway.send(request.header(HEADER, NEMOTRON).header("X-Gateway-Model-Name", "x")).await;
        assert_routed(&response, model, reason);
        assert_eq!(received(&response), [upstream_model(&response).as_str().expect("a name")]);
    }
}

#[apply(for_each_host!)]
async fn a_clients_own_has_no_effect_on_requests_that_are_not_routed(host: Host) {
    let gateway = gateway(host).await;
    for request in [
        Request::new(Method::GET, "/v1/files", ""),
        Request::new(Method::POST, "/v1/moderations", "{}"),
        Request::new(Method::POST, "/v1/chat/completions", "").http2(),
    ] {
        let response = gateway.send(request.header(HEADER, NEMOTRON)).await;
        assert_eq!(response.header("x-served-by"), "llama-8b", "the fallback route's cluster");
        assert!(received(&response).is_empty(), "{response:?}");
    }
}

#[apply(for_each_host!)]
async fn in_shadow_a_clients_own_is_removed_and_none_is_set(host: Host) {
    let shadow = |it: &mut Value| it["mode"] = json!("shadow");
    let gateway = Envoy::start(&without_sidecar(host).routing_by_model_header(HEADER).policy(shadow)).await;
    let response = gateway.send(Request::chat(chat("llama-70b", "Hi")).header(HEADER, NEMOTRON)).await;
    assert_eq!(
        (response.header("x-served-by"), response.header("x-llm-router-model")),
        ("llama-8b", "llama-70b")
    );
    assert!(received(&response).is_empty(), "{response:?}");
    assert_eq!(upstream_model(&response), "llama-70b");
}

//! In shadow mode, requests are forwarded unchanged by the existing routes, and the decision is only reported.

use hyper::Method;
use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, Response, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::fakes::scripted_sidecar::labelled;
use llm_router_tests::host::{Host, PerHost};
use llm_router_tests::{
    for_each_host, for_each_host_inside_envoy, for_each_host_that_keeps_bodies, refusing_address,
};
use macro_rules_attribute::apply;
use serde_json::json;

/// The cluster of the bootstrap's own route.
const SERVED_BY: &str = "llama-8b";

/// The host in shadow mode, without a sidecar.
fn without_sidecar(host: Host) -> Bootstrap {
    host.shadow_bootstrap().with_long_timeouts()
}

async fn gateway(host: Host) -> &'static ScriptedGateway {
    static SHARED: PerHost<ScriptedGateway> = PerHost::new();
    SHARED.get_or_start(host, || ScriptedGateway::start(without_sidecar(host), 2)).await
}

#[apply(for_each_host!)]
async fn a_request_goes_on_unchanged_and_the_response_reports_the_decision(host: Host) {
    let prompt = labelled("Code Generation");
    let content = serde_json::to_string(&prompt).expect("JSON");
    let body = format!(
        "{{ \"model\" : \"gpt-4.1\" ,\"nim-llm-router\":{{\"policy\":\"task_router\"}},\n \
         \"messages\":[{{\"role\":\"user\",\"content\":{content}}}],\"model\":\"gpt-4.1\"}} "
    );
    let request = Request::chat(&body);
    for request in [request.clone(), request.clone().in_pieces(7), request.http2()] {
        let response = gateway(host).await.send(request).await;
        assert_untouched(&response, &body);
        assert_eq!(response.header("x-llm-router-model"), "large");
        assert_eq!(response.header("x-llm-router-reason"), "shadow");
        assert_eq!(response.header("x-llm-router-policy"), "task_router");
        assert_eq!(response.header("x-llm-router-label"), "Code Generation");
        assert_eq!(response.json()["model"], "gpt-4.1");
        assert!(!response.received().headers.contains_key("x-llm-cluster"));
    }
}

#[apply(for_each_host!)]
async fn a_request_that_would_be_rejected_goes_on(host: Host) {
    const TOO_LARGE: usize = (8 << 20) + 1;
    let large = chat("auto", &"x".repeat(TOO_LARGE)).to_string();
    let deep = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
    for body in ["not JSON", "{}", "{\"model\":7}", &deep, &large] {
        for request in [Request::chat(body), Request::chat(body).in_pieces(64 << 10)] {
            assert_undecided(&gateway(host).await.send(request).await, body);
        }
    }
    let unknown = chat("auto", "Hi").to_string();
    let response = gateway(host).await.send(Request::chat(&unknown).header("x-llm-policy", "nope")).await;
    assert_untouched(&response, &unknown);
    let compressed = Request::chat(&unknown).header("content-encoding", "gzip");
    assert_untouched(&gateway(host).await.send(compressed).await, &unknown);
}

/// The ext_proc filter buffers bodies, and Envoy rejects what is over its own limit.
#[apply(for_each_host_inside_envoy!)]
async fn a_body_over_envoys_own_limit_goes_on(host: Host) {
    const OVER_ENVOYS_LIMIT: usize = 10 << 20;
    let body = chat("auto", &"x".repeat(OVER_ENVOYS_LIMIT)).to_string();
    for request in [Request::chat(&body), Request::chat(&body).in_pieces(64 << 10)] {
        assert_undecided(&gateway(host).await.send(request).await, &body);
    }
}

#[apply(for_each_host!)]
async fn what_is_not_a_prompt_passes(host: Host) {
    let response = gateway(host).await.send(Request::new(Method::GET, "/v1/models", "")).await;
    assert_eq!(response.json()["data"][0]["id"], SERVED_BY, "the LLM's own list");
    let body = json!({ "model": "any", "input": "a text" }).to_string();
    assert_untouched(&gateway(host).await.send(Request::post("/v1/embeddings", &body)).await, &body);
}

#[apply(for_each_host_that_keeps_bodies!)]
async fn without_a_sidecar_requests_go_on_whatever_is_configured(host: Host) {
    for on_failure in ["default", "reject"] {
        let bootstrap = without_sidecar(host).policy(|it| it["sidecar"]["on_failure"] = json!(on_failure));
        let gateway = Envoy::start(&bootstrap.sidecar(refusing_address())).await;
        let body = chat("gpt-4.1", "Hi").to_string();
        assert_untouched(&gateway.send(Request::chat(&body)).await, &body);
    }
}

#[track_caller]
fn assert_untouched(response: &Response, body: &str) {
    assert_eq!((response.status.as_u16(), response.header("x-served-by")), (200, SERVED_BY), "{response:?}");
    assert!(response.received().body == body, "the body arrived changed");
}

/// Checks that the request went on, and that no decision is reported. The LLM may not understand the body.
#[track_caller]
fn assert_undecided(response: &Response, body: &str) {
    assert_eq!(response.header("x-served-by"), SERVED_BY, "{response:?}");
    assert!(response.received().body == body, "the body arrived changed");
    assert_eq!(response.header("x-llm-router-model"), "");
}

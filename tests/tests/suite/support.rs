//! Shared by the tests of the suite.

use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Response, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::host::{Host, PerHost};
use llm_router_tests::sidecar::Sidecar;
use serde_json::{Value, json};

pub(crate) const CODE: &str = "Write a Python function that returns the n-th Fibonacci number.";
pub(crate) const GREETING: &str = "Hi there! How are you doing today?";

/// Spellings of `/v1/chat/completions` that servers or proxies in front of them accept.
pub(crate) const SPELLINGS: [&str; 19] = [
    "/v1/%63hat/completions",
    "/v1/chat/completion%73",
    "/v1/%2563hat/completions",
    "//v1/chat/completions",
    "/v1//chat///completions",
    "/v1/chat/completions/",
    "/./v1/./chat/completions",
    "/v1/chat/completions/.",
    "/v1/x/../chat/completions",
    "/v1/x/%2e%2E/chat/completions",
    "/v1/%2e/chat/completions",
    "/V1/Chat/COMPLETIONS",
    "/v1%2Fchat%2fcompletions",
    "/v1/chat%5ccompletions",
    "/v1\\chat\\completions",
    "/v1;a=b/chat/completions;c",
    "/v1/x/..;/chat/completions",
    "/v1/chat/completions%20",
    "/v1/%43hat/%2F/completions%0A",
];

/// The Envoy that tests share unless they need a configuration of their own: the host's bootstrap, and two policies more.
pub(crate) async fn shared_gateway(host: Host) -> Envoy {
    static SHARED: PerHost<Envoy> = PerHost::new();
    let start = async || {
        let second = json!({ "classifier": "task", "routes": {}, "default": "llama-70b" });
        let support = json!({ "classifier": "examples", "min_confidence": 0.45, "default": "llama-8b", "routes": {
            "billing": { "model": "llama-70b", "examples": ["where is my invoice", "I want a refund, please"] },
            "technical": { "model": "nemotron", "examples": ["the app crashes when I log in", "error 500 on upload"] },
        } });
        let policies = |it: &mut Value| {
            it["policies"]["always_70b"] = second;
            it["policies"]["support"] = support;
        };
        Envoy::start(&bootstrap(host).await.policy(policies)).await
    };
    SHARED.get_or_start(host, start).await.clone()
}

/// The host's bootstrap with the real sidecar.
pub(crate) async fn bootstrap(host: Host) -> Bootstrap {
    let bootstrap = without_sidecar(host);
    if bootstrap.sidecar_policy().is_some() {
        // It gets a sidecar of its own when it is started: until then, tests change the policy.
        bootstrap
    } else {
        bootstrap.sidecar(Sidecar::shared().await.address())
    }
}

/// The host's bootstrap, for a test that brings its own sidecar.
pub(crate) fn without_sidecar(host: Host) -> Bootstrap {
    host.bootstrap().with_long_timeouts()
}

/// Routes Anthropic's API too, by the same classifier: code goes to the model on `nemotron`, the rest to the one on `llama-8b`.
pub(crate) fn route_both_apis(policy: &mut Value) {
    let claude =
        |cluster: &str, model: &str| json!({ "cluster": cluster, "model": model, "api": "anthropic" });
    policy["models"]["claude-fast"] = claude("llama-8b", "claude-haiku-4-5");
    policy["models"]["claude-deep"] = claude("nemotron", "claude-opus-4-5");
    policy["policies"]["claude"] = json!({
        "classifier": "task", "default": "claude-fast",
        "routes": { "Code Generation": "claude-deep", "Chatbot": "claude-fast" },
    });
    policy["rules"] = json!([{ "when": { "path_prefix": "/v1/messages" }, "policy": "claude" }]);
}

/// The policy of a bootstrap.
pub(crate) fn policy_of(bootstrap: Bootstrap) -> Value {
    let mut policy = Value::Null;
    drop(bootstrap.policy(|it| policy = it.clone()));
    policy
}

/// A request of exactly this many bytes that asks for code.
pub(crate) fn code_of(bytes: usize) -> String {
    let mut body = chat("auto", CODE).to_string();
    let end = body.find(CODE).expect("the prompt") + CODE.len();
    body.insert_str(end, &" ".repeat(bytes - body.len()));
    body
}

/// The value of `model` that the LLM received.
pub(crate) fn upstream_model(response: &Response) -> Value {
    let mut body: Value = serde_json::from_slice(&response.received().body).expect("JSON");
    body["model"].take()
}

/// Checks that the model responded, and that the response headers name it. Clusters are named as their models are.
#[track_caller]
pub(crate) fn assert_routed(response: &Response, model: &str, reason: &str) {
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("x-served-by"), model, "{response:?}");
    assert_eq!(response.header("x-llm-router-model"), model, "{response:?}");
    assert_eq!(response.header("x-llm-router-reason"), reason, "{response:?}");
}

/// Checks an error's status, its Anthropic shape, and that no LLM received the request.
#[track_caller]
pub(crate) fn assert_rejected_as_anthropic(response: &Response, status: u16, kind: &str, message: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("content-type"), "application/json");
    let body = response.json();
    assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)), "{body}");
    assert!(
        body["error"]["message"].as_str().is_some_and(|it| it.contains(message)),
        "{body} lacks {message:?}"
    );
    response.assert_not_forwarded();
}

/// Checks an error's status, its OpenAI shape, what it names, and that no LLM received the request.
#[track_caller]
pub(crate) fn assert_rejected(response: &Response, status: u16, param: impl Into<Value>, message: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("content-type"), "application/json");
    let body = response.json();
    let error = body["error"].as_object().expect("an error object");
    let mut fields: Vec<_> = error.keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["code", "message", "param", "type"]);
    assert_eq!(error["type"], "invalid_request_error", "{error:?}");
    assert_eq!(error["param"], param.into(), "{error:?}");
    assert!(error["message"].as_str().is_some_and(|it| it.contains(message)), "{error:?} lacks {message:?}");
    response.assert_not_forwarded();
}

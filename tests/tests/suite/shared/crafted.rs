//! The gateway that the tests of policies, protocols and limits share: the mode's bootstrap with every kind of policy
//! and model.

use llm_router_tests::client::Answer;
use llm_router_tests::fleet::FLEET;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::gateway::Gateway;
use crate::without_sidecar;

pub(crate) async fn gateway() -> &'static Gateway {
    static SHARED: OnceCell<Gateway> = OnceCell::const_new();
    SHARED.get_or_init(|| Gateway::start(without_sidecar().policy(add_policies), 2)).await
}

fn add_policies(config: &mut Value) {
    let models = &mut config["models"];
    models["llama-8b"]["capabilities"] = json!([]);
    models["llama-8b"]["context"] = json!("1k");
    models["llama-70b"]["capabilities"] = json!(["tools"]);
    models["nemotron"]["capabilities"] = json!(["tools", "json", "reasoning"]);
    models["nemotron"]["context"] = json!("4k");
    models["claude"] = json!({ "cluster": "nemotron", "model": "claude-sonnet", "api": "anthropic" });
    models["hosted"] = json!({
        "cluster": "llama-70b", "model": "vendor/hosted", "base_path": "/openai/deployments/x",
        "host": "api.vendor.example",
    });
    let policies = [
        (
            "complexity",
            json!({ "classifier": "complexity", "bands": [
                { "up_to": 0.3, "model": "llama-8b" }, { "up_to": 0.6, "model": "llama-70b" }, { "model": "nemotron" },
            ] }),
        ),
        (
            "two_bands",
            json!({ "classifier": "complexity", "bands": [
                { "up_to": 0.5, "model": "llama-8b" }, { "model": "nemotron" },
            ] }),
        ),
        (
            "dimensions",
            json!({
                "classifier": "complexity", "routes": { "creativity_scope": "llama-70b", "reasoning": "nemotron" },
                "default": "llama-8b",
            }),
        ),
        (
            "cheapest",
            json!({
                "classifier": "task", "routes": { "Chatbot": "llama-8b", "Code Generation": "nemotron" },
                "default": "llama-70b",
            }),
        ),
        (
            "fallback",
            json!({
                "classifier": "task", "routes": { "Chatbot": "llama-8b" }, "default": "llama-8b",
                "fallback": ["nemotron", "llama-70b"],
            }),
        ),
        (
            "split",
            json!({
                "classifier": "task", "routes": {},
                "default": [{ "model": "llama-8b", "weight": 1 }, { "model": "llama-70b", "weight": 1 }],
            }),
        ),
        ("claude_only", json!({ "classifier": "task", "routes": {}, "default": "claude" })),
    ];
    for (name, policy) in policies {
        config["policies"][name] = policy;
    }
    config["rules"] = json!([
        { "when": { "header": { "x-tenant": "acme" } }, "policy": "cheapest" },
        { "when": { "path_prefix": "/team-b/" }, "model": "llama-70b" },
        { "when": { "has_tools": true, "text_matches": "(?i)\\bsql\\b" }, "model": "nemotron" },
        { "when": { "has_tools": true }, "model": "llama-70b" },
        { "when": { "has_images": true }, "model": "nemotron" },
        { "when": { "min_tokens": "5k" }, "model": "llama-70b" },
    ]);
}

/// Checks an error's status, its OpenAI shape, what it names, and that no LLM saw the request.
#[track_caller]
pub(crate) fn assert_refused(answer: &Answer, status: u16, param: impl Into<Value>, message: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    let error = &answer.json()["error"];
    assert_eq!(error["type"], "invalid_request_error", "{error}");
    assert_eq!(error["param"], param.into(), "{error}");
    assert!(error["code"].is_string(), "{error}");
    assert!(error["message"].as_str().is_some_and(|it| it.contains(message)), "{error} lacks {message:?}");
    assert!(FLEET.received(&answer.id).is_none(), "the request went on to an LLM");
}

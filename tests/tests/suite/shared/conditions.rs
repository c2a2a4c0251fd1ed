//! Rules with conditions on predictions, and rules that reject.

use llm_router_tests::client::{Request, chat};
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::fakes::scripted_sidecar::by_classifier;
use llm_router_tests::for_each_host;
use llm_router_tests::host::{Host, PerHost};
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{assert_rejected, assert_routed, without_sidecar};

async fn with_rules(host: Host) -> &'static ScriptedGateway {
    static SHARED: PerHost<ScriptedGateway> = PerHost::new();
    let rules = |it: &mut Value| {
        it["cache"] = json!({ "entries": 100 });
        it["rules"] = json!([
            { "when": { "path_prefix": "/v1/completions" }, "reject": { "status": 403, "message": "no completions" } },
            { "name": "watched", "when": { "mood": { "above": 0.5 } }, "reject": { "message": "no" }, "mode": "shadow" },
            { "when": { "mood": { "above": 0.9 } }, "reject": { "status": 403, "message": "not allowed here" } },
            { "when": { "all": [{ "task": ["Closed QA", "Poetry"] }, { "complexity": { "above": 0.6 } }] }, "model": "nemotron" },
            { "when": { "any": [{ "header": { "x-tenant": "acme" } }, { "complexity": { "above": 0.8, "of": ["reasoning"] } }] },
                "model": "llama-70b" },
        ]);
    };
    SHARED.get_or_start(host, || ScriptedGateway::start(without_sidecar(host).policy(rules), 1)).await
}

fn prompt(mood: f32, task: &str, complexity: f32, reasoning: f32) -> String {
    by_classifier(json!({
        "mood": { "score": mood },
        "task": { "label": task, "confidence": 0.875 },
        "complexity": { "score": complexity, "scores": { "reasoning": reasoning } },
    }))
}

#[apply(for_each_host!)]
async fn conditions_on_several_heads_cost_one_call(host: Host) {
    let gateway = with_rules(host).await;
    for (prompt, model, reason) in [
        (prompt(0.0, "Poetry", 0.7, 0.1), "nemotron", "rule"),
        (prompt(0.0, "Poetry", 0.5, 0.9), "llama-70b", "rule"),
        (prompt(0.0, "Chatbot", 0.7, 0.1), "llama-8b", "classified"),
        (prompt(0.0, "Code Generation", 0.1, 0.1), "nemotron", "classified"),
    ] {
        for _ in 0..2 {
            let response = gateway.send(Request::chat(chat("auto", &prompt))).await;
            assert_eq!(response.header("x-llm-router-model"), model, "{prompt}");
            assert!([reason, "cached"].contains(&response.header("x-llm-router-reason")), "{response:?}");
        }
        assert_eq!(gateway.sidecar.times_classified(&prompt), 1, "{prompt}");
    }
    let request = Request::chat(chat("auto", &prompt(0.0, "Chatbot", 0.1, 0.1))).header("x-tenant", "acme");
    assert_routed(&gateway.send(request).await, "llama-70b", "rule");
}

#[apply(for_each_host!)]
async fn a_guard_rejects_whatever_the_client_names(host: Host) {
    let gateway = with_rules(host).await;
    for name in ["auto", "task_router", "llama-8b", "gpt-4o", "unknown"] {
        let harmful = prompt(0.95, "Chatbot", 0.1, 0.1);
        let response = gateway.send(Request::chat(chat(name, &harmful))).await;
        assert_rejected(&response, 403, Value::Null, "not allowed here");
        let harmless = gateway.send(Request::chat(chat(name, &prompt(0.1, "Chatbot", 0.1, 0.1)))).await;
        assert_eq!(harmless.status, 200, "{name}");
    }
}

#[apply(for_each_host!)]
async fn a_rule_in_shadow_is_counted_only(host: Host) {
    let gateway = with_rules(host).await;
    let response = gateway.send(Request::chat(chat("auto", &prompt(0.6, "Chatbot", 0.1, 0.1)))).await;
    assert_eq!(response.status, 200, "{response:?}");
    let counted = llm_router_tests::poll(async || {
        let stats = gateway.stats().await;
        let found = stats.iter().any(|(name, value)| {
            name.starts_with("llm_router_rules_total") && name.contains("watched") && *value > 0.0
        });
        if found { Ok(()) } else { Err(stats) }
    });
    counted.await;
}

#[apply(for_each_host!)]
async fn a_head_that_is_missing_fails_no_other(host: Host) {
    let gateway = with_rules(host).await;
    // Neither mood nor complexity is predicted.
    let only_task = by_classifier(json!({ "task": { "label": "Code Generation", "confidence": 0.875 } }));
    let response = gateway.send(Request::chat(chat("auto", &only_task))).await;
    assert_routed(&response, "nemotron", "classified");
}

/// They go on as `/v1/completions`.
#[apply(for_each_host!)]
async fn a_rule_on_a_path_matches_all_its_aliases(host: Host) {
    let gateway = with_rules(host).await;
    let body = json!({ "model": "llama-8b", "prompt": "hi" });
    for path in [
        "/v1/completions",
        "/V1//Completions/",
        "/completions",
        "/openai/completions",
        "/v1/engines/llama-8b/completions",
        "/openai/deployments/llama-8b/completions?api-version=2024-10-21",
    ] {
        let response = gateway.send(Request::post(path, &body)).await;
        assert_rejected(&response, 403, Value::Null, "no completions");
    }
}

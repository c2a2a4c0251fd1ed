//! The cache of predictions. These Envoys have one worker, because in the Wasm filter each worker has its own cache.

use llm_router_tests::client::{Request, chat};
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::fakes::scripted_sidecar::{labelled, unpredictable};
use llm_router_tests::for_each_host;
use llm_router_tests::host::{Host, PerHost};
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{assert_routed, without_sidecar};

async fn with_cache(host: Host) -> &'static ScriptedGateway {
    static SHARED: PerHost<ScriptedGateway> = PerHost::new();
    let cache = |it: &mut Value| {
        it["cache"] = json!({ "entries": 100 });
        it["policies"]["other"] = json!({
            "classifier": "task", "routes": { "Code Generation": "llama-70b" }, "default": "llama-8b",
        });
        it["policies"]["by_mood"] = json!({ "classifier": "mood", "routes": {}, "default": "llama-8b" });
    };
    SHARED.get_or_start(host, || ScriptedGateway::start(without_sidecar(host).policy(cache), 1)).await
}

#[apply(for_each_host!)]
async fn the_same_prompt_is_not_classified_twice(host: Host) {
    let gateway = with_cache(host).await;
    let prompt = labelled("Code Generation");
    for reason in ["classified", "cached", "cached"] {
        let response = gateway.send(Request::chat(chat("auto", &prompt))).await;
        assert_routed(&response, "nemotron", reason);
        assert_eq!(response.header("x-llm-router-confidence"), "0.875");
    }
    assert_eq!(gateway.sidecar.times_classified(&prompt), 1);
}

#[apply(for_each_host!)]
async fn policies_of_one_classifier_share_its_predictions_and_route_them_by_themselves(host: Host) {
    let gateway = with_cache(host).await;
    let prompt = labelled("Code Generation");
    assert_routed(&gateway.send(Request::chat(chat("auto", &prompt))).await, "nemotron", "classified");
    assert_routed(&gateway.send(Request::chat(chat("other", &prompt))).await, "llama-70b", "cached");
    assert_eq!(gateway.sidecar.times_classified(&prompt), 1);
    assert_routed(&gateway.send(Request::chat(chat("by_mood", &prompt))).await, "llama-8b", "default");
    assert_eq!(gateway.sidecar.times_classified(&prompt), 2);
}

#[apply(for_each_host!)]
async fn only_the_users_words_make_another_prompt(host: Host) {
    let gateway = with_cache(host).await;
    let turn = |role: &str, text: &str| json!({ "role": role, "content": text });
    let prompt = labelled("Code Generation");
    let user = turn("user", &prompt);
    let reminder = json!({ "role": "user", "content": "<system-reminder>\nIt is late.\n</system-reminder>" });
    let call = json!({ "role": "assistant", "content": null, "tool_calls": [{ "id": "1", "type": "function",
        "function": { "name": "ls", "arguments": "{}" } }] });
    let result = json!({ "role": "tool", "tool_call_id": "1", "content": "a.rs" });
    for (messages, reason) in [
        (json!([user]), "classified"),
        (json!([turn("system", "Be brief."), user]), "cached"),
        (json!([turn("system", "Be kind."), user, call, result]), "cached"),
        (json!([user, call, result, reminder]), "cached"),
        (json!([turn("user", "Hi."), turn("assistant", "Hi."), user]), "classified"),
    ] {
        let body = json!({ "model": "auto", "messages": messages });
        assert_routed(&gateway.send(Request::chat(body)).await, "nemotron", reason);
    }
    assert_eq!(gateway.sidecar.times_classified(&prompt), 2, "once, and once more with context");
}

#[apply(for_each_host!)]
async fn a_classification_that_failed_is_not_remembered(host: Host) {
    let gateway = with_cache(host).await;
    let prompt = unpredictable();
    for _ in 0..2 {
        let response = gateway.send(Request::chat(chat("auto", &prompt))).await;
        assert_routed(&response, "llama-8b", "classifier_unavailable");
    }
    assert_eq!(gateway.sidecar.times_classified(&prompt), 2);
}

#[apply(for_each_host!)]
async fn without_a_cache_each_prompt_is_classified(host: Host) {
    let gateway = ScriptedGateway::with_every_policy(host).await;
    let prompt = labelled("Code Generation");
    for _ in 0..3 {
        let response = gateway.send(Request::chat(chat("auto", &prompt))).await;
        assert_routed(&response, "nemotron", "classified");
    }
    assert_eq!(gateway.sidecar.times_classified(&prompt), 3);
}

//! What the router remembers: predictions, and the models of conversations. These Envoys have one worker, since in the Wasm
//! filter each worker has its own memory.

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

async fn with_stickiness(host: Host) -> &'static ScriptedGateway {
    static SHARED: PerHost<ScriptedGateway> = PerHost::new();
    let stickiness = |it: &mut Value| {
        it["stickiness"] = json!({ "header": "x-conversation", "ttl": "1h" });
        it["models"]["llama-8b"]["capabilities"] = json!([]);
    };
    SHARED.get_or_start(host, || ScriptedGateway::start(without_sidecar(host).policy(stickiness), 1)).await
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
async fn another_prompt_is_classified_anew(host: Host) {
    let gateway = with_cache(host).await;
    let system = |text: &str| json!({ "role": "system", "content": text });
    let prompt = labelled("Code Generation");
    let user = json!({ "role": "user", "content": prompt });
    for messages in [json!([user]), json!([system("Be brief."), user]), json!([system("Be kind."), user])] {
        let body = json!({ "model": "auto", "messages": messages });
        assert_routed(&gateway.send(Request::chat(body)).await, "nemotron", "classified");
    }
    assert_eq!(gateway.sidecar.times_classified(&prompt), 3);
}

#[apply(for_each_host!)]
async fn a_classification_that_failed_is_not_remembered(host: Host) {
    let gateway = with_cache(host).await;
    let prompt = unpredictable();
    for _ in 0..2 {
        let response = gateway.send(Request::chat(chat("auto", &prompt))).await;
        assert_routed(&response, "llama-8b", "fallback");
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

#[apply(for_each_host!)]
async fn a_conversation_that_a_header_names_keeps_its_model(host: Host) {
    let gateway = with_stickiness(host).await;
    let request = |prompt: &str, conversation: &str| {
        Request::chat(chat("auto", prompt)).header("x-conversation", conversation)
    };
    let (begin, later) = (labelled("Code Generation"), labelled("Chatbot"));
    assert_routed(&gateway.send(request(&begin, "one")).await, "nemotron", "classified");
    assert_routed(&gateway.send(request(&later, "one")).await, "nemotron", "sticky");
    assert_routed(&gateway.send(request(&later, "two")).await, "llama-8b", "classified");
    assert_eq!(gateway.sidecar.times_classified(&later), 1);
}

#[apply(for_each_host!)]
async fn a_conversation_without_a_header_is_identified_by_its_first_message(host: Host) {
    let gateway = with_stickiness(host).await;
    let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
    let first = turn("user", &labelled("Code Generation"));
    let second = turn("user", &labelled("Chatbot"));
    let begin = json!({ "model": "auto", "messages": [first] });
    let later = json!({ "model": "auto", "messages": [first, turn("assistant", "Well."), second] });
    let other = json!({ "model": "auto", "messages": [second] });
    assert_routed(&gateway.send(Request::chat(begin)).await, "nemotron", "classified");
    assert_routed(&gateway.send(Request::chat(later)).await, "nemotron", "sticky");
    assert_routed(&gateway.send(Request::chat(other)).await, "llama-8b", "classified");
}

#[apply(for_each_host!)]
async fn a_conversation_changes_its_model_only_for_what_that_model_cannot_do(host: Host) {
    let gateway = with_stickiness(host).await;
    let request = |label: &str, tools: Value| {
        let mut body = chat("auto", &labelled(label));
        body["tools"] = tools;
        Request::chat(body).header("x-conversation", "tools")
    };
    let tools = json!([{ "type": "function", "function": { "name": "look_up" } }]);
    assert_routed(&gateway.send(request("Chatbot", json!([]))).await, "llama-8b", "classified");
    assert_routed(&gateway.send(request("Code Generation", tools)).await, "nemotron", "classified");
    assert_routed(&gateway.send(request("Chatbot", json!([]))).await, "nemotron", "sticky");
}

#[apply(for_each_host!)]
async fn a_conversation_does_not_stay_with_the_model_of_a_failed_classification(host: Host) {
    let gateway = with_stickiness(host).await;
    let request = |prompt: &str| Request::chat(chat("auto", prompt)).header("x-conversation", "fallback");
    assert_routed(&gateway.send(request(&unpredictable())).await, "llama-8b", "fallback");
    assert_routed(&gateway.send(request(&labelled("Code Generation"))).await, "nemotron", "classified");
}

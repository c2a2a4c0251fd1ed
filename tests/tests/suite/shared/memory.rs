//! What the router remembers: the classifier's answers, and conversations' models. These Envoys have one worker, since
//! in our filter each remembers for itself.

use llm_router_tests::client::{Request, chat};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::gateway::Gateway;
use crate::obedient_sidecar::labelled;
use crate::{assert_routed, without_sidecar};

async fn with_cache() -> &'static Gateway {
    static SHARED: OnceCell<Gateway> = OnceCell::const_new();
    let cache = |it: &mut Value| {
        it["cache"] = json!({ "entries": 100 });
        it["policies"]["other"] = json!({
            "classifier": "task", "routes": { "Code Generation": "llama-70b" }, "default": "llama-8b",
        });
        it["policies"]["by_mood"] = json!({ "classifier": "mood", "routes": {}, "default": "llama-8b" });
    };
    SHARED.get_or_init(|| Gateway::start(without_sidecar().policy(cache), 1)).await
}

async fn with_stickiness() -> &'static Gateway {
    static SHARED: OnceCell<Gateway> = OnceCell::const_new();
    let stickiness = |it: &mut Value| {
        it["stickiness"] = json!({ "header": "x-conversation", "ttl": "1h" });
        it["models"]["llama-8b"]["capabilities"] = json!([]);
    };
    SHARED.get_or_init(|| Gateway::start(without_sidecar().policy(stickiness), 1)).await
}

#[tokio::test]
async fn the_same_prompt_is_not_classified_twice() {
    let gateway = with_cache().await;
    let prompt = labelled("the same prompt", "Code Generation");
    for reason in ["classified", "cached", "cached"] {
        let answer = gateway.send(Request::chat(chat("auto", &prompt))).await;
        assert_routed(&answer, "nemotron", reason);
        assert_eq!(answer.header("x-llm-router-confidence"), "0.875");
    }
    assert_eq!(gateway.sidecar.asked_about("the same prompt"), 1);
}

#[tokio::test]
async fn policies_of_one_classifier_share_its_answers_and_route_them_by_themselves() {
    let gateway = with_cache().await;
    let prompt = labelled("a shared answer", "Code Generation");
    assert_routed(&gateway.send(Request::chat(chat("auto", &prompt))).await, "nemotron", "classified");
    assert_routed(&gateway.send(Request::chat(chat("other", &prompt))).await, "llama-70b", "cached");
    assert_eq!(gateway.sidecar.asked_about("a shared answer"), 1);
    assert_routed(&gateway.send(Request::chat(chat("by_mood", &prompt))).await, "llama-8b", "default");
    assert_eq!(gateway.sidecar.asked_about("a shared answer"), 2);
}

#[tokio::test]
async fn another_prompt_is_classified_anew() {
    let gateway = with_cache().await;
    let system = |text: &str| json!({ "role": "system", "content": text });
    let user = json!({ "role": "user", "content": labelled("another prompt", "Code Generation") });
    for messages in [json!([user]), json!([system("Be brief."), user]), json!([system("Be kind."), user])] {
        let body = json!({ "model": "auto", "messages": messages });
        assert_routed(&gateway.send(Request::chat(body)).await, "nemotron", "classified");
    }
    assert_eq!(gateway.sidecar.asked_about("another prompt"), 3);
}

#[tokio::test]
async fn a_classification_that_failed_is_not_remembered() {
    let gateway = with_cache().await;
    for _ in 0..2 {
        let answer = gateway.send(Request::chat(chat("auto", "no answer"))).await;
        assert_routed(&answer, "llama-8b", "fallback");
    }
    assert_eq!(gateway.sidecar.asked_about("no answer"), 2);
}

#[tokio::test]
async fn without_a_cache_each_prompt_is_classified() {
    let gateway = crate::crafted::gateway().await;
    let prompt = labelled("no cache", "Code Generation");
    for _ in 0..3 {
        let answer = gateway.envoy.send(Request::chat(chat("auto", &prompt))).await;
        assert_routed(&answer, "nemotron", "classified");
    }
    assert_eq!(gateway.sidecar.asked_about("no cache"), 3);
}

#[tokio::test]
async fn a_conversation_that_a_header_names_keeps_its_model() {
    let gateway = with_stickiness().await;
    let request = |topic: &str, label: &str, conversation: &str| {
        Request::chat(chat("auto", &labelled(topic, label))).header("x-conversation", conversation)
    };
    assert_routed(&gateway.send(request("begin", "Code Generation", "one")).await, "nemotron", "classified");
    assert_routed(&gateway.send(request("go on", "Chatbot", "one")).await, "nemotron", "sticky");
    assert_routed(&gateway.send(request("go on", "Chatbot", "two")).await, "llama-8b", "classified");
    assert_eq!(gateway.sidecar.asked_about("go on"), 1);
}

#[tokio::test]
async fn a_conversation_without_a_header_is_told_by_its_first_message() {
    let gateway = with_stickiness().await;
    let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
    let first = turn("user", &labelled("how it began", "Code Generation"));
    let second = turn("user", &labelled("how it went on", "Chatbot"));
    let begin = json!({ "model": "auto", "messages": [first] });
    let later = json!({ "model": "auto", "messages": [first, turn("assistant", "Well."), second] });
    let other = json!({ "model": "auto", "messages": [second] });
    assert_routed(&gateway.send(Request::chat(begin)).await, "nemotron", "classified");
    assert_routed(&gateway.send(Request::chat(later)).await, "nemotron", "sticky");
    assert_routed(&gateway.send(Request::chat(other)).await, "llama-8b", "classified");
}

#[tokio::test]
async fn a_conversation_changes_its_model_only_for_what_that_cannot_do() {
    let gateway = with_stickiness().await;
    let request = |label: &str, tools: Value| {
        let mut body = chat("auto", &labelled("tools later", label));
        body["tools"] = tools;
        Request::chat(body).header("x-conversation", "tools")
    };
    let tools = json!([{ "type": "function", "function": { "name": "look_up" } }]);
    assert_routed(&gateway.send(request("Chatbot", json!([]))).await, "llama-8b", "classified");
    assert_routed(&gateway.send(request("Code Generation", tools)).await, "nemotron", "classified");
    assert_routed(&gateway.send(request("Chatbot", json!([]))).await, "nemotron", "sticky");
}

#[tokio::test]
async fn a_conversation_does_not_stay_with_a_fallback() {
    let gateway = with_stickiness().await;
    let request = |prompt: &str| Request::chat(chat("auto", prompt)).header("x-conversation", "fallback");
    assert_routed(&gateway.send(request("no answer")).await, "llama-8b", "fallback");
    let prompt = labelled("an answer", "Code Generation");
    assert_routed(&gateway.send(request(&prompt)).await, "nemotron", "classified");
}

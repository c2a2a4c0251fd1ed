//! Conversations keep their model, whichever worker or gateway gets their turns.

use llm_router_tests::client::{Request, Response};
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::fakes::scripted_sidecar::{labelled, scored, unpredictable};
use llm_router_tests::for_each_host;
use llm_router_tests::host::{Host, PerHost};
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{assert_rejected, assert_routed, without_sidecar};

/// Two gateways that share nothing, each with two workers.
struct Replicas([ScriptedGateway; 2]);

impl Replicas {
    async fn start(host: Host, mode: &str) -> Self {
        let change = |it: &mut Value| {
            it["stickiness"] = json!({ "mode": mode, "header": "x-conversation" });
            it["models"]["llama-8b"]["capabilities"] = json!([]);
            it["policies"]["complexity"] = json!({ "classifier": "complexity", "bands": [
                { "up_to": 0.3, "model": "llama-8b" }, { "up_to": 0.6, "model": "llama-70b" }, { "model": "nemotron" },
            ] });
            it["policies"]["split"] = json!({ "classifier": "task", "routes": {}, "default": [
                { "model": "llama-8b", "weight": 1 }, { "model": "llama-70b", "weight": 1 },
            ] });
        };
        let start = async || ScriptedGateway::start(without_sidecar(host).policy(change), 2).await;
        Self([start().await, start().await])
    }

    /// Sends a request to each gateway a few times, each on a connection of its own, so that it meets several workers; all
    /// must respond with the same model.
    async fn send(&self, request: Request) -> Response {
        let mut responses = Vec::new();
        for gateway in &self.0 {
            for _ in 0..4 {
                responses.push(gateway.send(request.clone()).await);
            }
        }
        let models: Vec<_> = responses.iter().map(|it| it.header("x-llm-router-model")).collect();
        assert!(models.windows(2).all(|pair| pair[0] == pair[1]), "{models:?}");
        responses.pop().expect("a response")
    }
}

async fn first(host: Host) -> &'static Replicas {
    static SHARED: PerHost<Replicas> = PerHost::new();
    SHARED.get_or_start(host, || Replicas::start(host, "first")).await
}

async fn strongest(host: Host) -> &'static Replicas {
    static SHARED: PerHost<Replicas> = PerHost::new();
    let start = async || Replicas::start(host, "strongest").await;
    SHARED.get_or_start(host, start).await
}

/// A conversation of these user messages, with a completion after each except the last.
fn conversation(model: &str, texts: &[&str]) -> Value {
    let turns = texts.iter().flat_map(|text| {
        [json!({ "role": "user", "content": text }), json!({ "role": "assistant", "content": "Well." })]
    });
    let mut messages: Vec<_> = turns.collect();
    messages.pop();
    json!({ "model": model, "messages": messages })
}

#[apply(for_each_host!)]
async fn a_conversation_keeps_the_model_of_its_first_message_on_all_workers_and_gateways(host: Host) {
    let replicas = first(host).await;
    let [begin, later] = ["Code Generation", "Chatbot"].map(labelled);
    let send = async |texts: &[&str]| replicas.send(Request::chat(conversation("auto", texts))).await;
    send(&[&begin]).await;
    for texts in [&[&*begin, &later][..], &[&begin, &later, "And now?", &later]] {
        assert_routed(&send(texts).await, "nemotron", "sticky");
    }
    assert_eq!(send(&[&later]).await.header("x-llm-router-model"), "llama-8b");
    // A worker that has not seen the conversation before makes the same decision.
    let unseen = labelled("Code Generation");
    assert_routed(&send(&[&unseen, &later]).await, "nemotron", "sticky");
}

#[apply(for_each_host!)]
async fn a_conversation_never_goes_below_what_an_earlier_message_needed(host: Host) {
    let replicas = strongest(host).await;
    let [low, middle, high] = [0.1, 0.5, 0.9].map(scored);
    let mut texts: Vec<&str> = Vec::new();
    for (text, model) in [
        (&low, "llama-8b"),
        (&middle, "llama-70b"),
        (&low, "llama-70b"),
        (&high, "nemotron"),
        (&middle, "nemotron"),
    ] {
        texts.push(text);
        let response = replicas.send(Request::chat(conversation("complexity", &texts))).await;
        assert_eq!(response.header("x-llm-router-model"), model, "{} messages", texts.len());
    }
}

#[apply(for_each_host!)]
async fn only_a_need_changes_a_conversations_model(host: Host) {
    let replicas = first(host).await;
    let begin = labelled("Chatbot");
    let mut body = conversation("auto", &[&begin, "Look it up."]);
    body["tools"] = json!([{ "type": "function", "function": { "name": "look_up" } }]);
    assert_eq!(replicas.send(Request::chat(body)).await.header("x-llm-router-reason"), "capability");
    let without = conversation("auto", &[&begin, "Thanks!"]);
    assert_routed(&replicas.send(Request::chat(without)).await, "llama-8b", "sticky");
}

#[apply(for_each_host!)]
async fn a_conversation_does_not_stay_with_the_model_of_a_failed_classification(host: Host) {
    let replicas = first(host).await;
    let begin = unpredictable();
    assert_routed(
        &replicas.send(Request::chat(conversation("auto", &[&begin]))).await,
        "llama-8b",
        "classifier_unavailable",
    );
    let other = labelled("Code Generation");
    let response = replicas.send(Request::chat(conversation("auto", &[&other, "Thanks!"]))).await;
    assert_routed(&response, "nemotron", "sticky");
}

#[apply(for_each_host!)]
async fn weighted_models_are_drawn_by_what_agents_send(host: Host) {
    let replicas = first(host).await;
    let text = |number: usize| format!("{} {number}", labelled("Poetry"));
    let mut models = std::collections::HashSet::new();
    for session in 0..8 {
        let id = format!("session-{session}");
        let user = format!("user_0_account_1_session_{id}");
        let mut chosen = Vec::new();
        for number in 0..2 {
            let mut by_user = conversation("split", &[&text(number)]);
            by_user["metadata"] = json!({ "user_id": user });
            let by_header = Request::chat(conversation("split", &[&text(number)])).header("session-id", &id);
            chosen.push([
                replicas.send(by_header).await.header("x-llm-router-model").to_owned(),
                replicas.send(Request::chat(by_user)).await.header("x-llm-router-model").to_owned(),
            ]);
        }
        assert_eq!(chosen[0], chosen[1], "another message of the same session");
        models.extend(chosen.concat());
    }
    assert_eq!(models.len(), 2, "{models:?}");
}

#[apply(for_each_host!)]
async fn signed_reasoning_goes_back_to_the_model_that_signed_it(host: Host) {
    let gateway = ScriptedGateway::with_every_policy(host).await;
    let [begin, later] = ["Code Generation", "Chatbot"].map(labelled);
    let item = json!({ "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x" });
    let user = |text: &str| json!({ "role": "user", "content": text });
    let send = async |input: Value| {
        gateway.send(Request::post("/v1/responses", json!({ "model": "auto", "input": input }))).await
    };
    assert_routed(&send(json!([user(&begin)])).await, "nemotron", "classified");
    assert_routed(&send(json!([user(&begin), item, user(&later)])).await, "nemotron", "sticky");
    assert_routed(&send(json!([user(&begin), user(&later)])).await, "llama-8b", "classified");
}

#[apply(for_each_host!)]
async fn a_response_is_continued_by_the_model_that_made_it(host: Host) {
    let gateway = ScriptedGateway::with_every_policy(host).await;
    let [begin, later] = ["Code Generation", "Chatbot"].map(labelled);
    for stream in [false, true] {
        let ask = async |input: &str, previous: Value| {
            let body = json!({
                "model": "auto", "input": input, "stream": stream, "previous_response_id": previous,
            });
            gateway.send(Request::post("/v1/responses", body)).await
        };
        let made = ask(&begin, Value::Null).await;
        assert_eq!(made.header("x-llm-router-model"), "nemotron");
        let text = String::from_utf8(made.body.to_vec()).expect("text");
        let id = text.split('"').find(|it| it.starts_with("resp_")).expect("an id").to_owned();
        for _ in 0..4 {
            // Another connection may meet another worker.
            assert_routed(&ask(&later, json!(id)).await, "nemotron", "sticky");
        }
        let unknown = ask(&later, json!("unknown_1")).await;
        assert_rejected(&unknown, 400, "previous_response_id", "send the whole conversation");
    }
    let named = json!({ "model": "llama-8b", "input": later, "previous_response_id": "unknown_1" });
    assert_routed(&gateway.send(Request::post("/v1/responses", named)).await, "llama-8b", "manual");
}

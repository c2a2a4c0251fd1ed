//! Policies of every kind: what a classifier says, or a rule, or a model's abilities, decides.

use llm_router_tests::client::{Answer, Request, chat};
use serde_json::{Value, json};

use crate::assert_routed;
use crate::crafted::{assert_refused, gateway};
use crate::obedient_sidecar::{dimensioned, labelled, scored};

#[tokio::test]
async fn a_score_goes_to_the_model_of_its_band() {
    for (score, model) in [
        (0.0, "llama-8b"),
        (0.25, "llama-8b"),
        (0.31, "llama-70b"),
        (0.5, "llama-70b"),
        (0.61, "nemotron"),
        (1.0, "nemotron"),
    ] {
        let answer = send(chat("complexity", &scored("a band", score))).await;
        assert_routed(&answer, model, "classified");
        assert_eq!(answer.header("x-llm-router-score"), format!("{score:.3}"));
        assert_eq!(answer.header("x-llm-router-policy"), "complexity");
    }
}

#[tokio::test]
async fn a_threshold_after_the_policys_name_moves_the_bound() {
    let prompt = scored("a threshold", 0.75);
    for (name, model) in
        [("two_bands", "nemotron"), ("two_bands:0.8", "llama-8b"), ("two_bands:0.7", "nemotron")]
    {
        assert_routed(&send(chat(name, &prompt)).await, model, "classified");
    }
    let mut metadata = chat("auto", &prompt);
    metadata["nim-llm-router"] =
        json!({ "policy": "two_bands", "routing_strategy": "triton", "threshold": 0.8 });
    assert_routed(&send(metadata).await, "llama-8b", "classified");
}

#[tokio::test]
async fn a_threshold_after_the_name_of_a_policy_by_label_is_the_confidence_wanted() {
    let prompt = labelled("a bar", "Code Generation");
    assert_routed(&send(chat("task_router:0.8", &prompt)).await, "nemotron", "classified");
    assert_routed(&send(chat("task_router:0.9", &prompt)).await, "llama-8b", "default");
    assert_routed(&send(chat("auto:0.9", &prompt)).await, "llama-8b", "default");
}

#[tokio::test]
async fn a_threshold_that_moves_no_bound_is_a_bad_request() {
    let prompt = scored("a threshold", 0.75);
    assert_refused(&send(chat("two_bands:1.5", &prompt)).await, 400, "model", "between 0 and 1");
    assert_refused(&send(chat("two_bands:high", &prompt)).await, 400, "model", "between 0 and 1");
    assert_refused(&send(chat("complexity:0.5", &prompt)).await, 400, "threshold", "two bands");
}

#[tokio::test]
async fn the_highest_of_a_scores_dimensions_is_a_label_as_in_nvidias_blueprint() {
    let prompt = dimensioned("dimensions", 0.25, json!({ "creativity_scope": 0.125, "reasoning": 0.75 }));
    let answer = send(chat("dimensions", &prompt)).await;
    assert_routed(&answer, "nemotron", "classified");
    assert_eq!(answer.header("x-chosen-classifier"), "reasoning");
}

#[tokio::test]
async fn a_score_without_the_label_that_a_policy_wants_goes_to_its_default() {
    assert_routed(&send(chat("dimensions", &scored("none", 0.5))).await, "llama-8b", "default");
    assert_routed(&send(chat("complexity", &labelled("none", "Chatbot"))).await, "nemotron", "default");
}

#[tokio::test]
async fn a_rule_on_a_header_chooses_the_policy() {
    let prompt = labelled("a tenant", "Closed QA");
    let request = |tenant: &str| Request::chat(chat("auto", &prompt)).header("x-tenant", tenant);
    let answer = gateway().await.envoy.send(request("acme")).await;
    assert_routed(&answer, "llama-70b", "default");
    assert_eq!(answer.header("x-llm-router-policy"), "cheapest");
    let answer = gateway().await.envoy.send(request("ACME")).await;
    assert_eq!(answer.header("x-llm-router-policy"), "task_router");
}

#[tokio::test]
async fn a_rule_on_the_path_chooses_the_model() {
    let request = Request::post("/team-b/v1/chat/completions", chat("auto", "a team"));
    assert_routed(&gateway().await.envoy.send(request).await, "llama-70b", "rule");
    assert_eq!(gateway().await.sidecar.asked_about("a team"), 0);
}

#[tokio::test]
async fn a_rule_on_the_length_chooses_the_model() {
    let prompt = |tokens: usize| labelled(&"abc ".repeat(tokens), "Chatbot");
    assert_routed(&send(chat("auto", &prompt(6000))).await, "llama-70b", "rule");
    assert_routed(&send(chat("auto", &prompt(500))).await, "llama-8b", "classified");
}

#[tokio::test]
async fn a_rule_on_images_chooses_the_model() {
    let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } });
    let content = json!([{ "type": "text", "text": "What is this?" }, image]);
    let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": content }] });
    assert_routed(&send(body).await, "nemotron", "rule");
}

#[tokio::test]
async fn the_first_rule_that_matches_counts() {
    let with_tools = |prompt: &str| with(chat("auto", prompt), "tools", some_tools());
    assert_routed(&send(with_tools("Write some SQL")).await, "nemotron", "rule");
    assert_routed(&send(with_tools("Mysqld is down")).await, "llama-70b", "rule");
    let prompt = labelled("sql without tools", "Chatbot");
    assert_routed(&send(chat("auto", &prompt)).await, "llama-8b", "classified");
}

#[tokio::test]
async fn rules_leave_alone_whoever_names_a_policy_or_a_model() {
    let with_tools = |model: &str| with(chat(model, "Write some SQL"), "tools", some_tools());
    assert_routed(&send(with_tools("llama-70b")).await, "llama-70b", "manual");
    let answer = send(with_tools("cheapest")).await;
    assert_eq!(answer.header("x-llm-router-policy"), "cheapest");
}

#[tokio::test]
async fn a_model_that_lacks_a_capability_is_stood_in_for_by_the_cheapest_that_has_it() {
    let prompt = labelled("a chat", "Chatbot");
    for (field, value, model) in [
        ("tools", some_tools(), "llama-70b"),
        ("functions", some_tools(), "llama-70b"),
        ("response_format", json!({ "type": "json_object" }), "nemotron"),
        ("reasoning_effort", json!("high"), "nemotron"),
    ] {
        let answer = send(with(chat("cheapest", &prompt), field, value)).await;
        assert_routed(&answer, model, "capability");
        assert_eq!(answer.header("x-llm-router-label"), "Chatbot");
    }
    assert_routed(&send(chat("cheapest", &prompt)).await, "llama-8b", "classified");
}

#[tokio::test]
async fn a_fallback_list_gives_the_order_of_standing_in() {
    let prompt = labelled("a fallback", "Chatbot");
    let answer = send(with(chat("fallback", &prompt), "tools", some_tools())).await;
    assert_routed(&answer, "nemotron", "capability");
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_goes_to_a_model_whose_context_is_long_enough() {
    for (tokens, model, reason) in
        [(500, "llama-8b", "classified"), (2000, "nemotron", "capability"), (8000, "llama-70b", "capability")]
    {
        let prompt = labelled(&"abc ".repeat(tokens), "Chatbot");
        assert_routed(&send(chat("fallback", &prompt)).await, model, reason);
    }
    // The answer takes room too.
    let prompt = labelled("a short one", "Chatbot");
    let body = with(chat("fallback", &prompt), "max_completion_tokens", json!(3000));
    assert_routed(&send(body).await, "nemotron", "capability");
}

#[tokio::test]
async fn what_no_model_of_the_policy_can_do_is_a_bad_request() {
    let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } });
    let text = json!({ "type": "text", "text": labelled("an image", "Chatbot") });
    let body = json!({ "model": "fallback", "messages": [{ "role": "user", "content": [text, image] }] });
    assert_refused(&send(body).await, 400, Value::Null, "the capability images");

    let prompt = labelled(&"abc ".repeat(8000), "Chatbot");
    let body = with(chat("two_bands", &prompt), "reasoning_effort", json!("high"));
    let answer = send(body).await;
    assert_refused(&answer, 400, Value::Null, "which no model of its policy has");
}

#[tokio::test]
async fn whoever_names_a_model_gets_it_whatever_it_is_said_to_lack() {
    let body = with(chat("llama-8b", "Hi"), "tools", some_tools());
    assert_routed(&send(body).await, "llama-8b", "manual");
}

#[tokio::test]
async fn weighted_models_share_conversations_and_each_keeps_its_own() {
    let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
    let mut models = std::collections::HashSet::new();
    for number in 0..16 {
        let first = turn("user", &format!("Question {number}"));
        let more = [first.clone(), turn("assistant", "An answer."), turn("user", "And then?")];
        let begin = send(json!({ "model": "split", "messages": [first] })).await;
        let later = send(json!({ "model": "split", "messages": more })).await;
        assert_eq!(begin.header("x-served-by"), later.header("x-served-by"), "conversation {number}");
        models.insert(begin.header("x-served-by").to_owned());
    }
    assert_eq!(models, ["llama-8b".to_owned(), "llama-70b".to_owned()].into());
}

fn some_tools() -> Value {
    json!([{ "type": "function", "function": { "name": "look_up", "parameters": { "type": "object" } } }])
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

async fn send(body: Value) -> Answer {
    gateway().await.envoy.send(Request::chat(body)).await
}

//! Policies of every kind: a prediction, a rule or a model's capabilities decide.

use llm_router_tests::client::{Request, Response, chat};
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::fakes::scripted_sidecar::{dimensioned, labelled, scored};
use llm_router_tests::for_each_host;
use llm_router_tests::host::Host;
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{assert_rejected, assert_routed};

#[apply(for_each_host!)]
async fn a_score_goes_to_the_model_of_its_band(host: Host) {
    for (score, model) in [
        (0.0, "llama-8b"),
        (0.25, "llama-8b"),
        (0.31, "llama-70b"),
        (0.5, "llama-70b"),
        (0.61, "nemotron"),
        (1.0, "nemotron"),
    ] {
        let response = send(host, chat("complexity", &scored(score))).await;
        assert_routed(&response, model, "classified");
        assert_eq!(response.header("x-llm-router-score"), format!("{score:.3}"));
        assert_eq!(response.header("x-llm-router-policy"), "complexity");
    }
}

#[apply(for_each_host!)]
async fn a_threshold_after_the_policys_name_moves_the_bound(host: Host) {
    let prompt = scored(0.75);
    for (name, model) in
        [("two_bands", "nemotron"), ("two_bands:0.8", "llama-8b"), ("two_bands:0.7", "nemotron")]
    {
        assert_routed(&send(host, chat(name, &prompt)).await, model, "classified");
    }
    let mut metadata = chat("auto", &prompt);
    metadata["nim-llm-router"] =
        json!({ "policy": "two_bands", "routing_strategy": "triton", "threshold": 0.8 });
    assert_routed(&send(host, metadata).await, "llama-8b", "classified");
}

#[apply(for_each_host!)]
async fn a_threshold_after_the_name_of_a_policy_by_label_is_the_least_confidence(host: Host) {
    let prompt = labelled("Code Generation");
    assert_routed(&send(host, chat("task_router:0.8", &prompt)).await, "nemotron", "classified");
    assert_routed(&send(host, chat("task_router:0.9", &prompt)).await, "llama-8b", "default");
    assert_routed(&send(host, chat("auto:0.9", &prompt)).await, "llama-8b", "default");
}

#[apply(for_each_host!)]
async fn a_threshold_that_moves_no_bound_is_a_bad_request(host: Host) {
    let prompt = scored(0.75);
    assert_rejected(&send(host, chat("two_bands:1.5", &prompt)).await, 400, "model", "between 0 and 1");
    assert_rejected(&send(host, chat("two_bands:high", &prompt)).await, 400, "model", "between 0 and 1");
    assert_rejected(&send(host, chat("complexity:0.5", &prompt)).await, 400, "threshold", "two bands");
}

#[apply(for_each_host!)]
async fn the_highest_of_a_scores_dimensions_is_a_label_as_in_nvidias_blueprint(host: Host) {
    let prompt = dimensioned(0.25, json!({ "creativity_scope": 0.125, "reasoning": 0.75 }));
    let response = send(host, chat("dimensions", &prompt)).await;
    assert_routed(&response, "nemotron", "classified");
    assert_eq!(response.header("x-chosen-classifier"), "reasoning");
}

#[apply(for_each_host!)]
async fn a_score_without_the_label_that_a_policy_wants_goes_to_its_default(host: Host) {
    assert_routed(&send(host, chat("dimensions", &scored(0.5))).await, "llama-8b", "default");
    assert_routed(&send(host, chat("complexity", &labelled("Chatbot"))).await, "nemotron", "default");
}

#[apply(for_each_host!)]
async fn a_rule_on_a_header_chooses_the_policy(host: Host) {
    let prompt = labelled("Closed QA");
    let request = |tenant: &str| Request::chat(chat("auto", &prompt)).header("x-tenant", tenant);
    let gateway = ScriptedGateway::with_every_policy(host).await;
    let response = gateway.send(request("acme")).await;
    assert_routed(&response, "llama-70b", "default");
    assert_eq!(response.header("x-llm-router-policy"), "cheapest");
    let response = gateway.send(request("ACME")).await;
    assert_eq!(response.header("x-llm-router-policy"), "task_router");
}

#[apply(for_each_host!)]
async fn a_rule_on_the_path_chooses_the_model(host: Host) {
    let gateway = ScriptedGateway::with_every_policy(host).await;
    let prompt = labelled("Chatbot");
    let request = |path: &str| Request::post(path, chat("auto", &prompt));
    assert_routed(&gateway.send(request("/team-b/v1/chat/completions")).await, "llama-70b", "rule");
    assert_eq!(gateway.sidecar.times_classified(&prompt), 0);
    assert_routed(&gateway.send(request("/team-c/v1/chat/completions")).await, "llama-8b", "classified");
    assert_eq!(gateway.sidecar.times_classified(&prompt), 1);
}

#[apply(for_each_host!)]
async fn a_rule_on_the_length_chooses_the_model(host: Host) {
    let prompt = |tokens: usize| labelled("Chatbot") + &"abc ".repeat(tokens);
    assert_routed(&send(host, chat("auto", &prompt(6000))).await, "llama-70b", "rule");
    assert_routed(&send(host, chat("auto", &prompt(500))).await, "llama-8b", "classified");
}

#[apply(for_each_host!)]
async fn a_rule_on_images_chooses_the_model(host: Host) {
    let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } });
    let content = json!([{ "type": "text", "text": "What is this?" }, image]);
    let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": content }] });
    assert_routed(&send(host, body).await, "nemotron", "rule");
}

#[apply(for_each_host!)]
async fn the_first_rule_that_matches_counts(host: Host) {
    let with_tools = |prompt: &str| with(chat("auto", prompt), "tools", some_tools());
    assert_routed(&send(host, with_tools("Write some SQL")).await, "nemotron", "rule");
    assert_routed(&send(host, with_tools("Mysqld is down")).await, "llama-70b", "rule");
    let prompt = format!("{}SQL without tools", labelled("Chatbot"));
    assert_routed(&send(host, chat("auto", &prompt)).await, "llama-8b", "classified");
}

#[apply(for_each_host!)]
async fn rules_do_not_apply_to_requests_that_name_a_policy_or_a_model(host: Host) {
    let with_tools = |model: &str| with(chat(model, "Write some SQL"), "tools", some_tools());
    assert_routed(&send(host, with_tools("llama-70b")).await, "llama-70b", "manual");
    let response = send(host, with_tools("cheapest")).await;
    assert_eq!(response.header("x-llm-router-policy"), "cheapest");
}

#[apply(for_each_host!)]
async fn the_cheapest_model_with_a_capability_replaces_one_that_lacks_it(host: Host) {
    let prompt = labelled("Chatbot");
    for (field, value, model) in [
        ("tools", some_tools(), "llama-70b"),
        ("functions", some_tools(), "llama-70b"),
        ("response_format", json!({ "type": "json_object" }), "nemotron"),
        ("reasoning_effort", json!("high"), "nemotron"),
    ] {
        let response = send(host, with(chat("cheapest", &prompt), field, value)).await;
        assert_routed(&response, model, "capability");
        assert_eq!(response.header("x-llm-router-label"), "Chatbot");
    }
    assert_routed(&send(host, chat("cheapest", &prompt)).await, "llama-8b", "classified");
}

#[apply(for_each_host!)]
async fn a_fallback_list_is_the_order_of_the_fallback_models(host: Host) {
    let prompt = labelled("Chatbot");
    let response = send(host, with(chat("fallback", &prompt), "tools", some_tools())).await;
    assert_routed(&response, "nemotron", "capability");
}

#[apply(for_each_host!)]
async fn a_prompt_that_does_not_fit_goes_to_a_model_whose_context_is_long_enough(host: Host) {
    for (tokens, model, reason) in
        [(500, "llama-8b", "classified"), (2000, "nemotron", "capability"), (8000, "llama-70b", "capability")]
    {
        let prompt = labelled("Chatbot") + &"abc ".repeat(tokens);
        assert_routed(&send(host, chat("fallback", &prompt)).await, model, reason);
    }
    // The completion needs room too.
    let prompt = labelled("Chatbot");
    let body = with(chat("fallback", &prompt), "max_completion_tokens", json!(3000));
    assert_routed(&send(host, body).await, "nemotron", "capability");
}

#[apply(for_each_host!)]
async fn what_no_model_of_the_policy_can_do_is_a_bad_request(host: Host) {
    let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } });
    let text = json!({ "type": "text", "text": labelled("Chatbot") });
    let body = json!({ "model": "fallback", "messages": [{ "role": "user", "content": [text, image] }] });
    assert_rejected(&send(host, body).await, 400, Value::Null, "the capability images");

    let prompt = labelled("Chatbot") + &"abc ".repeat(8000);
    let body = with(chat("two_bands", &prompt), "reasoning_effort", json!("high"));
    let response = send(host, body).await;
    assert_rejected(&response, 400, Value::Null, "no model of the policy supports");
}

#[apply(for_each_host!)]
async fn a_model_that_the_client_names_is_used_whatever_it_lacks(host: Host) {
    let body = with(chat("llama-8b", "Hi"), "tools", some_tools());
    assert_routed(&send(host, body).await, "llama-8b", "manual");
}

#[apply(for_each_host!)]
async fn weighted_models_share_conversations_and_each_conversation_keeps_its_model(host: Host) {
    let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
    let mut models = std::collections::HashSet::new();
    for number in 0..16 {
        let first = turn("user", &format!("Question {number}"));
        let more = [first.clone(), turn("assistant", "An response."), turn("user", "And then?")];
        let begin = send(host, json!({ "model": "split", "messages": [first] })).await;
        let later = send(host, json!({ "model": "split", "messages": more })).await;
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

async fn send(host: Host, body: Value) -> Response {
    ScriptedGateway::with_every_policy(host).await.send(Request::chat(body)).await
}

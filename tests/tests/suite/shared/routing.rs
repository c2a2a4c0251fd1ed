//! What chooses the model: the classifier, or the client in one of several ways.

use llm_router_tests::client::{Request, Response, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::for_each_host;
use llm_router_tests::host::Host;
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{CODE, GREETING, assert_routed, bootstrap, shared_gateway, upstream_model};

const ARTICLE: &str = "Summarize the following text in one sentence.\n\nThe council met on Tuesday to \
    discuss the new bridge. After four hours of debate about its cost, the members agreed to ask two more \
    firms for an offer, and to decide in spring. Residents who came to listen complained about noise.";

#[apply(for_each_host!)]
async fn the_prompts_label_decides_the_model(host: Host) {
    let gateway = shared_gateway(host).await;
    for (prompt, label, model) in [
        (CODE, "Code Generation", "nemotron"),
        (ARTICLE, "Summarization", "llama-70b"),
        ("What is the capital of Australia?", "Open QA", "llama-70b"),
        (GREETING, "Chatbot", "llama-8b"),
    ] {
        let response = gateway.send(Request::chat(chat("auto", prompt))).await;
        assert_eq!(response.header("x-llm-router-label"), label, "{prompt}");
        assert_routed(&response, model, "classified");
    }
}

#[apply(for_each_host!)]
async fn the_policys_examples_decide_the_model(host: Host) {
    let ask = async |prompt| shared_gateway(host).await.send(Request::chat(chat("support", prompt))).await;
    for (prompt, label, model) in [
        ("I still have not received my invoice", "billing", "llama-70b"),
        ("Your app crashed when I tried to log in", "technical", "nemotron"),
    ] {
        let response = ask(prompt).await;
        assert_routed(&response, model, "classified");
        assert_eq!(response.header("x-llm-router-label"), label, "{prompt}");
    }
    assert_routed(&ask("Write a haiku about TCP").await, "llama-8b", "default");
}

#[apply(for_each_host!)]
async fn the_response_explains_the_decision(host: Host) {
    let response = shared_gateway(host).await.send(Request::chat(chat("auto", CODE))).await;
    assert_eq!(response.header("x-llm-router-policy"), "task_router");
    assert_eq!(response.header("x-chosen-classifier"), "Code Generation");
    let confidence: f32 = response.header("x-llm-router-confidence").parse().expect("a number");
    assert!((0.3..=1.0).contains(&confidence), "{confidence}");
}

#[apply(for_each_host!)]
async fn the_llm_is_asked_for_the_model_by_its_own_name(host: Host) {
    let response = shared_gateway(host).await.send(Request::chat(chat("auto", CODE))).await;
    assert_eq!(upstream_model(&response), "nvidia/llama-3.3-nemotron-super-49b-v1");
    assert_eq!(response.json()["model"], "nvidia/llama-3.3-nemotron-super-49b-v1");
}

#[apply(for_each_host!)]
async fn a_request_without_a_model_is_classified_and_gets_one(host: Host) {
    let body = json!({ "messages": [{ "role": "user", "content": CODE }] });
    let response = shared_gateway(host).await.send(Request::chat(body)).await;
    assert_routed(&response, "nemotron", "classified");
    assert_eq!(upstream_model(&response), "nvidia/llama-3.3-nemotron-super-49b-v1");
}

#[apply(for_each_host!)]
async fn the_last_user_message_decides_over_earlier_turns(host: Host) {
    let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
    let turns = [turn("user", GREETING), turn("assistant", "Fine, thanks! And you?"), turn("user", CODE)];
    let response =
        shared_gateway(host).await.send(Request::chat(json!({ "model": "auto", "messages": turns }))).await;
    assert_routed(&response, "nemotron", "classified");
}

#[apply(for_each_host!)]
async fn content_parts_are_classified_by_their_text(host: Host) {
    let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } });
    let content = json!([{ "type": "text", "text": CODE }, image]);
    let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": content }] });
    let response = shared_gateway(host).await.send(Request::chat(body)).await;
    assert_routed(&response, "nemotron", "classified");
}

#[apply(for_each_host!)]
async fn a_completions_prompt_is_classified_too(host: Host) {
    let body = json!({ "model": "auto", "prompt": CODE }).to_string();
    let response =
        shared_gateway(host).await.send(Request::new(hyper::Method::POST, "/v1/completions", body)).await;
    assert_routed(&response, "nemotron", "classified");
    assert_eq!(response.json()["object"], "text_completion");
}

#[apply(for_each_host!)]
async fn a_prompt_without_text_goes_to_the_default_model(host: Host) {
    let response = shared_gateway(host).await.send(Request::chat(chat("auto", "  \n "))).await;
    assert_routed(&response, "llama-8b", "default");
}

#[apply(for_each_host!)]
async fn an_unsure_classification_goes_to_the_default_model(host: Host) {
    let certain = |it: &mut Value| it["policies"]["task_router"]["min_confidence"] = json!(1.0);
    let gateway = Envoy::start(&bootstrap(host).await.policy(certain)).await;
    let response = gateway.send(Request::chat(chat("auto", CODE))).await;
    assert_routed(&response, "llama-8b", "default");
    assert_eq!(response.header("x-llm-router-label"), "Code Generation");
}

#[apply(for_each_host!)]
async fn a_configured_model_name_is_a_manual_choice(host: Host) {
    let response = shared_gateway(host).await.send(Request::chat(chat("llama-70b", CODE))).await;
    assert_routed(&response, "llama-70b", "manual");
    assert_eq!(response.json()["model"], "meta/llama-3.1-70b-instruct");
    assert_eq!(response.header("x-llm-router-label"), "");
}

#[apply(for_each_host!)]
async fn an_alias_names_another_model(host: Host) {
    let response = shared_gateway(host).await.send(Request::chat(chat("gpt-4o", CODE))).await;
    assert_routed(&response, "llama-70b", "alias");
}

#[apply(for_each_host!)]
async fn metadata_chooses_a_model_manually(host: Host) {
    let response = with_metadata(host, json!({ "routing_strategy": "manual", "model": "llama-70b" })).await;
    assert_routed(&response, "llama-70b", "manual");
}

#[apply(for_each_host!)]
async fn metadata_chooses_a_model_manually_by_its_label_as_in_nvidias_blueprint(host: Host) {
    let metadata = json!({ "policy": "task_router", "routing_strategy": "manual", "model": "Chatbot" });
    assert_routed(&with_metadata(host, metadata).await, "llama-8b", "manual");
}

#[apply(for_each_host!)]
async fn metadata_asks_for_classification_as_in_nvidias_blueprint(host: Host) {
    let metadata = json!({ "policy": "task_router", "routing_strategy": "triton", "model": "" });
    assert_routed(&with_metadata(host, metadata).await, "nemotron", "classified");
}

#[apply(for_each_host!)]
async fn a_policy_is_chosen_by_model_by_header_or_by_metadata(host: Host) {
    let gateway = shared_gateway(host).await;
    let by_model = Request::chat(chat("always_70b", CODE));
    let by_header = Request::chat(chat("auto", CODE)).header("x-llm-policy", "always_70b");
    let by_metadata = Request::chat(code_with(json!({ "policy": "always_70b" })));
    for request in [by_model, by_header, by_metadata] {
        let response = gateway.send(request).await;
        assert_routed(&response, "llama-70b", "default");
        assert_eq!(response.header("x-llm-router-policy"), "always_70b");
    }
}

#[apply(for_each_host!)]
async fn the_header_beats_the_model_and_metadata_beats_both(host: Host) {
    let gateway = shared_gateway(host).await;
    let header = Request::chat(chat("always_70b", CODE)).header("x-llm-policy", "task_router");
    assert_routed(&gateway.send(header).await, "nemotron", "classified");

    let mut body = code_with(json!({ "policy": "task_router" }));
    body["model"] = json!("always_70b");
    let metadata = Request::chat(body).header("x-llm-policy", "always_70b");
    assert_routed(&gateway.send(metadata).await, "nemotron", "classified");
}

#[apply(for_each_host!)]
async fn an_unknown_model_is_routed_by_the_default_policy(host: Host) {
    let response = shared_gateway(host).await.send(Request::chat(chat("gpt-99", CODE))).await;
    assert_routed(&response, "nemotron", "classified");
}

#[apply(for_each_host!)]
async fn an_unknown_model_is_rejected_if_so_configured(host: Host) {
    let gateway =
        Envoy::start(&bootstrap(host).await.policy(|it| it["on_unknown_model"] = json!("reject"))).await;
    let response = gateway.send(Request::chat(chat("gpt-99", CODE))).await;
    assert_eq!(response.status, 404);
    assert_eq!(response.json()["error"]["code"], "model_not_found");
    assert_eq!(response.json()["error"]["param"], "model");
    assert_routed(&gateway.send(Request::chat(chat("gpt-4o", CODE))).await, "llama-70b", "alias");
}

#[apply(for_each_host!)]
async fn an_unknown_model_passes_through_if_so_configured(host: Host) {
    let gateway =
        Envoy::start(&bootstrap(host).await.policy(|it| it["on_unknown_model"] = json!("passthrough"))).await;
    let body = chat("gpt-99", CODE).to_string();
    let response = gateway.send(Request::chat(&body)).await;
    assert_eq!(response.header("x-served-by"), "llama-8b", "the fallback route's cluster");
    assert_eq!(response.header("x-llm-router-model"), "");
    assert_eq!(response.received().body, body);

    for (path, mut body) in [
        ("/v1/chat/completions", chat("gpt-99", CODE)),
        ("/v1/embeddings", json!({"input": CODE, "model": "text-embedding-3-small"})),
    ] {
        let without_unwanted = body.to_string();
        body["nim-llm-router"] = json!({"routing_strategy": "triton"});
        let response = gateway.send(Request::post(path, &body)).await;
        assert_eq!(response.received().body, without_unwanted, "{path}");
    }
}

fn code_with(metadata: Value) -> Value {
    let mut body = chat("auto", CODE);
    body["nim-llm-router"] = metadata;
    body
}

async fn with_metadata(host: Host, metadata: Value) -> Response {
    shared_gateway(host).await.send(Request::chat(code_with(metadata))).await
}

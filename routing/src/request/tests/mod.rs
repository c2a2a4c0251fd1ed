//! What is read of requests, and what is changed in them.

mod errors;
mod identity;
mod needs;
mod prompt;
mod rewriting;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Directives, Endpoint, Harness, ModelChoice, PromptSettings, Request};
use crate::requirements::{Api, Capabilities, Capability, Requirements};
use crate::rewrite::{BodyEdits, growth};

const CHAT: Endpoint = Endpoint::ChatCompletions;

const LIMIT: usize = 16 << 10;

fn chat(body: &str) -> Request<'_> {
    Request::parse(CHAT, body.as_bytes()).unwrap()
}

fn rejection(endpoint: Endpoint, body: &[u8]) -> (u16, Value, String) {
    let rejection = Request::parse(endpoint, body).unwrap_err();
    let body: Value = serde_json::from_slice(&rejection.body(crate::requirements::Api::Openai)).unwrap();
    (
        rejection.status(),
        body["error"]["param"].clone(),
        body["error"]["message"].as_str().unwrap().to_owned(),
    )
}

fn rewritten(body: &str) -> String {
    let request = chat(body);
    String::from_utf8(
        request
            .into_rewrite()
            .for_model("big/\"model\"", &BodyEdits::default(), body.as_bytes())
            .apply(body.as_bytes()),
    )
    .unwrap()
}

fn settings(limit: usize) -> PromptSettings {
    PromptSettings::as_sent(limit)
}

/// The prompt and its context, oldest first.
fn prompt_of(request: &Request<'_>, limit: usize) -> Vec<String> {
    let prompt = request.prompt(&settings(limit));
    let all: Vec<_> = prompt.context().chain([prompt.text()]).collect();
    if prompt.is_empty() { Vec::new() } else { all }
}

fn prompt(body: &str) -> String {
    prompt_of(&chat(body), LIMIT).pop().unwrap_or_default()
}

#[test]
fn a_chat_request_is_read() {
    let request =
        chat(r#"{"model": "auto", "messages": [{"role": "user", "content": "hi"}], "stream": true}"#);
    assert_eq!(request.model.as_deref(), Some("auto"));
    assert_eq!(request.directives, None);
    assert_eq!(request.prompt(&settings(LIMIT)).text(), "hi");
}

#[test]
fn a_completion_is_read() {
    let text = |body: &str| {
        let request = Request::parse(Endpoint::Completions, body.as_bytes()).unwrap();
        request.prompt(&settings(LIMIT)).text()
    };
    assert_eq!(text(r#"{"prompt": "once upon"}"#), "once upon");
    assert_eq!(text(r#"{"prompt": ["once", "upon"]}"#), "once\nupon");
    assert_eq!(text(r#"{"prompt": [1, 2, 3]}"#), "");
    assert_eq!(text(r#"{"prompt": [[1, 2], [3]]}"#), "");
}

#[test]
fn the_blueprints_metadata_is_read() {
    let directives = |metadata: Value| {
        let body =
            json!({"messages": [{"role": "user", "content": "x"}], "nim-llm-router": metadata}).to_string();
        Request::parse(CHAT, body.as_bytes()).map(|request| request.directives)
    };
    assert_eq!(directives(Value::Null).unwrap(), None);
    let triton =
        json!({"policy": "task_router", "routing_strategy": "triton", "model": "", "threshold": 0.3});
    let expected = Directives {
        policy: Some("task_router".to_owned()),
        strategy: ModelChoice::Classify,
        threshold: Some(0.3),
    };
    assert_eq!(directives(triton).unwrap(), Some(expected));
    let manual = json!({"routing_strategy": "manual", "model": "Brainstorming"});
    let expected = Directives {
        policy: None,
        strategy: ModelChoice::Manual { model: "Brainstorming".to_owned() },
        threshold: None,
    };
    assert_eq!(directives(manual).unwrap(), Some(expected));
    for wrong in
        [json!({"routing_strategy": "manual"}), json!({"routing_strategy": "magic"}), json!("task_router")]
    {
        assert_eq!(directives(wrong).unwrap_err().status(), 400);
    }
}

fn parsed(endpoint: Endpoint, body: &Value) -> (String, Requirements, u64) {
    let body = body.to_string();
    let request = Request::parse(endpoint, body.as_bytes()).unwrap();
    (request.prompt(&settings(LIMIT)).text(), request.needs, request.prompt_tokens)
}

#[test]
fn a_response_request_is_read() {
    let text = |body: Value| parsed(Endpoint::Responses, &body).0;
    assert_eq!(text(json!({"input": "hi", "instructions": "be brief"})), "hi");
    assert_eq!(text(json!({"instructions": "be brief"})), "be brief");
    assert_eq!(text(json!({"input": [{"type": "input_text", "text": "hi"}]})), "hi");
    let items = json!([
        {"role": "user", "content": "first"},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "42"},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "second"}, {"type": "input_image", "image_url": "data:"}]},
    ]);
    assert_eq!(text(json!({"input": items, "instructions": null})), "second");
}

#[test]
fn anthropics_messages_are_read() {
    let body = json!({
        "system": [{"type": "text", "text": "be brief"}], "max_tokens": 1000,
        "messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "data": "AAAA"}}, {"type": "text", "text": "what is it?"}]}],
    });
    let (text, needs, _) = parsed(Endpoint::Messages, &body);
    assert_eq!(text, "what is it?");
    assert_eq!(needs.api, Api::Anthropic);
    assert!(needs.capabilities.has(Capability::Images));
    assert!(needs.tokens > 1000);
}

#[test]
fn embeddings_have_an_input() {
    for input in [json!("a text"), json!(["two", "texts"]), json!([1, 2, 3]), json!([[1, 2], [3]])] {
        let body = json!({"model": "m", "input": input}).to_string();
        assert!(Request::parse(Endpoint::Embeddings, body.as_bytes()).is_ok());
    }
}

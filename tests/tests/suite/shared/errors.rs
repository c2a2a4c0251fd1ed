//! Requests that are refused: with a status that fits, in the shape that OpenAI's clients understand.

use llm_router_tests::client::{Answer, Request, chat};
use llm_router_tests::fleet::FLEET;
use serde_json::{Value, json};

use crate::{CODE, shared_gateway};

const MAX_BODY: usize = 8 << 20;

#[tokio::test]
async fn an_unknown_policy_is_not_found() {
    let gateway = shared_gateway().await;
    let mut metadata = chat("auto", CODE);
    metadata["nim-llm-router"] = json!({ "policy": "nope" });
    let by_metadata = gateway.send(Request::chat(metadata)).await;
    assert_refused(&by_metadata, 404, "nim-llm-router", "nope");

    let by_header = gateway.send(Request::chat(chat("auto", CODE)).header("x-llm-policy", "nope")).await;
    assert_refused(&by_header, 404, "x-llm-policy", "nope");
}

#[tokio::test]
async fn an_unknown_model_in_metadata_is_not_found() {
    let mut body = chat("auto", CODE);
    body["nim-llm-router"] = json!({ "routing_strategy": "manual", "model": "nope" });
    let answer = shared_gateway().await.send(Request::chat(body)).await;
    assert_refused(&answer, 404, "nim-llm-router", "nope");
}

#[tokio::test]
async fn a_body_that_is_not_a_json_object_is_a_bad_request() {
    let gateway = shared_gateway().await;
    let deep = "[".repeat(100_000);
    for body in ["hello", "{\"model\":\"auto\",", "[1]", "null", "{} {}", &deep, "\u{feff}{}"] {
        let answer = gateway.send(Request::chat(body)).await;
        assert_refused(&answer, 400, Value::Null, "JSON");
    }
}

#[tokio::test]
async fn a_field_of_the_wrong_type_is_named() {
    let gateway = shared_gateway().await;
    let messages = json!([{ "role": "user", "content": CODE }]);
    for (body, field) in [
        (json!({ "model": 7, "messages": messages }), "model"),
        (json!({ "model": "auto", "messages": "hello" }), "messages"),
        (json!({ "model": "auto", "messages": [7] }), "messages"),
        (json!({ "model": "auto", "messages": [{ "content": "hello" }] }), "messages"),
        (json!({ "model": "auto", "messages": [{ "role": "user", "content": 7 }] }), "messages"),
        (json!({ "model": "auto", "messages": messages, "nim-llm-router": "task_router" }), "nim-llm-router"),
        (
            json!({ "messages": messages, "nim-llm-router": { "routing_strategy": "psychic" } }),
            "nim-llm-router",
        ),
        (
            json!({ "messages": messages, "nim-llm-router": { "routing_strategy": "manual" } }),
            "nim-llm-router",
        ),
    ] {
        let answer = gateway.send(Request::chat(&body)).await;
        assert_refused(&answer, 400, field, field);
    }
}

#[tokio::test]
async fn a_request_without_messages_is_a_bad_request() {
    let gateway = shared_gateway().await;
    for body in [json!({ "model": "auto" }), json!({ "model": "auto", "messages": [] })] {
        assert_refused(&gateway.send(Request::chat(body)).await, 400, "messages", "messages");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_too_large() {
    let gateway = shared_gateway().await;
    let body = chat("auto", &"x".repeat(MAX_BODY)).to_string();
    let announced = Request::chat(&body);
    let growing = Request::chat(&body).in_pieces(64 << 10);
    for request in [announced.clone(), growing.clone(), announced.http2(), growing.http2()] {
        assert_refused(&gateway.send(request).await, 413, Value::Null, "8388608");
    }
}

#[tokio::test]
async fn a_body_of_just_the_limit_is_not_too_large() {
    let frame = chat("auto", "").to_string().len();
    let body = chat("auto", &"x".repeat(MAX_BODY - frame)).to_string();
    let answer = shared_gateway().await.send(Request::chat(&body)).await;
    assert_eq!((body.len(), answer.status.as_u16()), (MAX_BODY, 200));
}

/// Checks an error's status, its OpenAI shape, what it names, and that no LLM saw the request.
#[track_caller]
fn assert_refused(answer: &Answer, status: u16, param: impl Into<Value>, message: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    let body = answer.json();
    let error = body["error"].as_object().expect("an error object");
    let mut fields: Vec<_> = error.keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["code", "message", "param", "type"]);
    assert_eq!(error["param"], param.into(), "{error:?}");
    assert_eq!(error["type"], "invalid_request_error");
    assert!(error["message"].as_str().is_some_and(|it| it.contains(message)), "{error:?} lacks {message:?}");
    assert!(FLEET.received(&answer.id).is_none(), "the request went on to an LLM");
}

//! The other APIs than chat completions, and providers that have them at another host and path.

use hyper::Method;
use llm_router_tests::client::{Answer, Request, chat};
use llm_router_tests::fleet::FLEET;
use serde_json::{Value, json};

use crate::crafted::{assert_refused, gateway};
use crate::obedient_sidecar::labelled;
use crate::{assert_routed, received};

#[tokio::test]
async fn responses_are_routed_by_their_input() {
    let text = labelled("a response", "Code Generation");
    let parts = json!([{ "type": "input_text", "text": text }]);
    for input in [json!(text), json!([{ "role": "user", "content": parts }])] {
        let body = json!({ "model": "auto", "input": input, "instructions": "Be brief." });
        let answer = post("/v1/responses", &body).await;
        assert_routed(&answer, "nemotron", "classified");
        assert_eq!(answer.json()["object"], "response");
        assert_eq!(answer.json()["output"][0]["content"][0]["text"], "This is nemotron.");
        assert_sent(&answer, &body, "nvidia/llama-3.3-nemotron-super-49b-v1");
    }
}

#[tokio::test]
async fn messages_are_routed_among_models_that_speak_anthropics_api() {
    let body = json!({
        "model": "claude_only", "max_tokens": 100, "system": "Be brief.",
        "messages": [{ "role": "user", "content": labelled("a message", "Chatbot") }],
    });
    let request = Request::post("/v1/messages", &body)
        .header("x-api-key", "a-key")
        .header("anthropic-version", "2023-06-01");
    let answer = gateway().await.envoy.send(request).await;
    assert_eq!(answer.header("x-llm-router-model"), "claude");
    assert_eq!(
        (&answer.json()["type"], &answer.json()["model"]),
        (&json!("message"), &json!("claude-sonnet"))
    );
    assert_sent(&answer, &body, "claude-sonnet");
    let received = received(&answer);
    assert_eq!(
        (&received.headers["x-api-key"], received.path.as_str()),
        (&"a-key".parse().unwrap(), "/v1/messages")
    );
}

#[tokio::test]
async fn streams_of_both_apis_arrive_event_by_event() {
    for (path, model, field, last) in [
        ("/v1/responses", "nemotron", "input", "response.completed"),
        ("/v1/messages", "claude", "messages", "message_stop"),
    ] {
        let turns = json!([{ "role": "user", "content": "Hi" }]);
        let request = Request::post(path, json!({ "model": model, "stream": true, field: turns }));
        FLEET.hold(request.id()).open();
        let mut answer = gateway().await.envoy.open(request).await;
        assert_eq!(answer.headers["content-type"], "text/event-stream");
        let mut events = Vec::new();
        while let Some(event) = answer.next_event().await {
            events.push(serde_json::from_str::<Value>(&event).expect("JSON")["type"].clone());
        }
        assert_eq!(events.last(), Some(&json!(last)), "{events:?}");
    }
}

#[tokio::test]
async fn requests_are_not_translated_from_one_api_to_another() {
    let body = chat("claude", "Hi");
    assert_refused(&post("/v1/chat/completions", &body).await, 400, "model", "OpenAI");
    assert_refused(&post("/v1/messages", &chat("llama-70b", "Hi")).await, 400, "model", "Anthropic");
    let by_policy = chat("cheapest", &labelled("another API", "Chatbot"));
    assert_refused(&post("/v1/messages", &by_policy).await, 400, Value::Null, "Anthropic");
    let by_policy = chat("claude_only", &labelled("another API", "Chatbot"));
    assert_refused(&post("/v1/chat/completions", &by_policy).await, 400, Value::Null, "OpenAI");
}

#[tokio::test]
async fn embeddings_go_to_the_model_or_alias_that_they_name() {
    for (name, model, reason) in [("llama-70b", "llama-70b", "manual"), ("gpt-4o", "llama-70b", "alias")] {
        let body = json!({ "model": name, "input": ["a text", "another"] });
        let answer = post("/v1/embeddings", &body).await;
        assert_routed(&answer, model, reason);
        assert_eq!(answer.json()["data"].as_array().map(Vec::len), Some(2));
        assert_sent(&answer, &body, "meta/llama-3.1-70b-instruct");
    }
}

#[tokio::test]
async fn embeddings_are_not_routed_by_policies() {
    for body in [
        json!({ "model": "auto", "input": "a text" }),
        json!({ "model": "cheapest", "input": "a text" }),
        json!({ "input": "a text" }),
    ] {
        assert_refused(&post("/v1/embeddings", &body).await, 400, "model", "name a model");
    }
}

#[tokio::test]
async fn embeddings_of_a_model_that_is_not_configured_pass_as_they_are() {
    let body = "{ \"model\" : \"text-embedding-3-small\",  \"input\": \"a text\" }";
    let answer = gateway().await.envoy.send(Request::post("/v1/embeddings", body)).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-llm-router-model")), (200, ""));
    assert_eq!(received(&answer).body, body);
}

#[tokio::test]
async fn the_list_of_models_is_of_the_names_that_clients_may_send() {
    for path in ["/v1/models", "/team-a/v1/models?limit=100"] {
        let answer = gateway().await.envoy.send(Request::new(Method::GET, path, "")).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
        let list = answer.json();
        assert_eq!(list["object"], "list");
        let data = list["data"].as_array().expect("a list");
        let names: Vec<_> = data.iter().filter_map(|model| model["id"].as_str()).collect();
        for name in ["auto", "task_router", "complexity", "llama-8b", "claude", "gpt-4o"] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        assert!(data.iter().all(|model| model["object"] == "model" && model["owned_by"].is_string()));
        assert!(FLEET.received(&answer.id).is_none(), "the request went on to an LLM");
    }
}

#[tokio::test]
async fn a_path_keeps_its_prefix_and_query() {
    let request = Request::post("/team-a/v1/chat/completions?api-version=1", chat("llama-70b", "Hi"));
    let answer = gateway().await.envoy.send(request).await;
    assert_routed(&answer, "llama-70b", "manual");
    let received = received(&answer);
    assert_eq!(received.path, "/team-a/v1/chat/completions?api-version=1");
    assert_eq!(received.headers["host"], "gateway");
}

#[tokio::test]
async fn a_model_at_another_host_and_path_is_asked_there() {
    let hosted = |path: &str, body: Value| {
        let request = Request::post(path, body);
        async { gateway().await.envoy.send(request).await }
    };
    for (answer, path) in [
        (
            hosted("/v1/chat/completions", chat("hosted", "Hi")).await,
            "/openai/deployments/x/chat/completions",
        ),
        (
            hosted("/team-a/v1/responses?x=1", json!({ "model": "hosted", "input": "Hi" })).await,
            "/openai/deployments/x/responses?x=1",
        ),
    ] {
        assert_eq!((answer.status.as_u16(), answer.header("x-llm-router-model")), (200, "hosted"));
        let received = received(&answer);
        assert_eq!(received.path, path);
        assert_eq!(received.headers["host"], "api.vendor.example");
    }
}

async fn post(path: &str, body: &Value) -> Answer {
    gateway().await.envoy.send(Request::post(path, body)).await
}

/// Checks that the LLM got the body with its own name in it, and all else as it was.
#[track_caller]
fn assert_sent(answer: &Answer, body: &Value, model: &str) {
    let mut expected = body.clone();
    expected["model"] = json!(model);
    assert_eq!(serde_json::from_slice::<Value>(&received(answer).body).expect("JSON"), expected);
}

//! Answers that are streams of server-sent events.

use llm_router_tests::client::{Request, chat};
use llm_router_tests::fleet::FLEET;
use serde_json::{Value, json};

use crate::{CODE, shared_gateway};

#[tokio::test]
async fn events_arrive_one_by_one_while_the_llm_still_writes() {
    let request = streamed();
    let gate = FLEET.hold(request.id());
    let gateway = shared_gateway().await;
    let open = gateway.open(request);
    // Envoy passes the head of an answer on with its first bytes, or before them.
    gate.release(1);
    let mut answer = open.await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["x-llm-router-model"], "nemotron");
    assert_eq!(answer.headers["content-type"], "text/event-stream");

    // The stand-in writes no event before its turn, so that each one read here came through alone.
    let mut text = String::new();
    loop {
        let event = answer.next_event().await.expect("an event");
        gate.release(1);
        if event == "[DONE]" {
            break;
        }
        let chunk: Value = serde_json::from_str(&event).expect("JSON");
        assert_eq!(chunk["object"], "chat.completion.chunk");
        text.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
    }
    assert_eq!(text, "This is nemotron.");
    assert_eq!(answer.next_event().await, None);
}

#[tokio::test]
async fn the_usage_that_was_asked_for_arrives_before_the_end() {
    let request = streamed().http2();
    FLEET.hold(request.id()).open();
    let mut answer = shared_gateway().await.open(request).await;
    let mut events = Vec::new();
    while let Some(event) = answer.next_event().await {
        events.push(event);
    }
    let [.., usage, done] = events.as_slice() else { panic!("{events:?}") };
    let usage: Value = serde_json::from_str(usage).expect("JSON");
    assert_eq!((usage["usage"]["completion_tokens"].as_u64(), done.as_str()), (Some(4), "[DONE]"));
}

fn streamed() -> Request {
    let mut body = chat("auto", CODE);
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    Request::chat(body)
}

//! Responses that are streams of server-sent events.

use llm_router_tests::client::{Request, chat};
use llm_router_tests::for_each_host;
use llm_router_tests::host::Host;
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{CODE, shared_gateway};

#[apply(for_each_host!)]
async fn events_arrive_one_by_one_while_the_llm_still_writes(host: Host) {
    let request = streamed();
    let gate = request.hold();
    let gateway = shared_gateway(host).await;
    let open = gateway.open(request);
    // Envoy forwards the headers of a response with its first bytes, or before them.
    gate.release(1);
    let mut response = open.await;
    assert_eq!(response.status, 200);
    assert_eq!(response.headers["x-llm-router-model"], "nemotron");
    assert_eq!(response.headers["content-type"], "text/event-stream");

    // The mock LLM writes no event before its turn, so that each one read here came through alone.
    let mut text = String::new();
    loop {
        let event = response.next_event().await.expect("an event");
        gate.release(1);
        if event == "[DONE]" {
            break;
        }
        let chunk: Value = serde_json::from_str(&event).expect("JSON");
        assert_eq!(chunk["object"], "chat.completion.chunk");
        text.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
    }
    assert_eq!(text, "This is nemotron.");
    assert_eq!(response.next_event().await, None);
}

#[apply(for_each_host!)]
async fn the_usage_that_was_asked_for_arrives_before_the_end(host: Host) {
    let request = streamed().http2();
    request.hold().open();
    let events = shared_gateway(host).await.open(request).await.events().await;
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

//! Anthropic's messages: <https://docs.anthropic.com/en/api/messages> and `/messages-streaming`.

use serde_json::{Value, json};

use super::reply::Reply;

pub(super) fn object(reply: &Reply<'_>) -> Value {
    let content = json!([{ "type": "text", "text": reply.words().concat() }]);
    message(reply, &content, Some("end_turn"), reply.output_tokens())
}

pub(super) fn events(reply: &Reply<'_>) -> Vec<Value> {
    // As Anthropic does: the input at the start, with the output so far; the whole output at the end.
    let begin = [
        json!({ "type": "message_start", "message": message(reply, &json!([]), None, 1) }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "ping" }),
    ];
    let words = reply.words().map(|word| {
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": word } })
    });
    let end = [
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({
            "type": "message_delta", "delta": { "stop_reason": "end_turn", "stop_sequence": null },
            "usage": { "output_tokens": reply.output_tokens() },
        }),
        json!({ "type": "message_stop" }),
    ];
    begin.into_iter().chain(words).chain(end).collect()
}

fn message(reply: &Reply<'_>, content: &Value, stop: Option<&str>, output_tokens: usize) -> Value {
    json!({
        "id": "msg_mock", "type": "message", "role": "assistant", "model": reply.request["model"],
        "content": content, "stop_reason": stop, "stop_sequence": null,
        "usage": { "input_tokens": reply.input_tokens(), "output_tokens": output_tokens },
    })
}

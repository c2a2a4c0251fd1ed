//! Anthropic's messages: <https://docs.anthropic.com/en/api/messages> and `/messages-streaming`.

use serde_json::{Value, json};

use super::answer::Answer;

pub(super) fn object(answer: &Answer<'_>) -> Value {
    let content = json!([{ "type": "text", "text": answer.words().concat() }]);
    message(answer, &content, Some("end_turn"), answer.output_tokens())
}

pub(super) fn events(answer: &Answer<'_>) -> Vec<Value> {
    // As Anthropic does: the input at the start, with the output so far; the whole output at the end.
    let begin = [
        json!({ "type": "message_start", "message": message(answer, &json!([]), None, 1) }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "ping" }),
    ];
    let words = answer.words().map(|word| {
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": word } })
    });
    let end = [
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({
            "type": "message_delta", "delta": { "stop_reason": "end_turn", "stop_sequence": null },
            "usage": { "output_tokens": answer.output_tokens() },
        }),
        json!({ "type": "message_stop" }),
    ];
    begin.into_iter().chain(words).chain(end).collect()
}

fn message(answer: &Answer<'_>, content: &Value, stop: Option<&str>, output_tokens: usize) -> Value {
    json!({
        "id": "msg_stand_in", "type": "message", "role": "assistant", "model": answer.request["model"],
        "content": content, "stop_reason": stop, "stop_sequence": null,
        "usage": { "input_tokens": answer.input_tokens(), "output_tokens": output_tokens },
    })
}

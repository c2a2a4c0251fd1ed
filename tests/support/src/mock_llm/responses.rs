//! OpenAI's responses: <https://platform.openai.com/docs/api-reference/responses>.

use serde_json::{Value, json};

use super::reply::Reply;

const ITEM: &str = "msg_mock";

pub(super) fn object(reply: &Reply<'_>) -> Value {
    let text = reply.words().concat();
    let content = json!([{ "type": "output_text", "text": text, "annotations": [] }]);
    let message = json!({ "id": ITEM, "type": "message", "role": "assistant", "status": "completed", "content": content });
    let (input, output) = (reply.input_tokens(), reply.output_tokens());
    let mut response = envelope(reply, "completed");
    response["output"] = json!([message]);
    response["usage"] = json!({
        "input_tokens": input, "input_tokens_details": { "cached_tokens": 0 },
        "output_tokens": output, "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": input + output,
    });
    response
}

pub(super) fn events(reply: &Reply<'_>) -> Vec<Value> {
    let begin = json!({ "type": "response.created", "response": envelope(reply, "in_progress") });
    let end = json!({ "type": "response.completed", "response": object(reply) });
    let words = reply.words().map(|word| {
        json!({
            "type": "response.output_text.delta", "item_id": ITEM, "output_index": 0, "content_index": 0,
            "delta": word,
        })
    });
    let mut events: Vec<_> = [begin].into_iter().chain(words).chain([end]).collect();
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    events
}

fn envelope(reply: &Reply<'_>, status: &str) -> Value {
    json!({
        "id": "resp_mock", "object": "response", "created_at": 0, "status": status,
        "model": reply.request["model"], "output": [], "usage": null,
    })
}

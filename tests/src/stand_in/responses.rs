//! OpenAI's responses: <https://platform.openai.com/docs/api-reference/responses>.

use serde_json::{Value, json};

use super::answer::Answer;

const ITEM: &str = "msg_stand_in";

pub(super) fn object(answer: &Answer<'_>) -> Value {
    let text = answer.words().concat();
    let content = json!([{ "type": "output_text", "text": text, "annotations": [] }]);
    let message = json!({ "id": ITEM, "type": "message", "role": "assistant", "status": "completed", "content": content });
    let (input, output) = (answer.input_tokens(), answer.output_tokens());
    let mut response = envelope(answer, "completed");
    response["output"] = json!([message]);
    response["usage"] = json!({
        "input_tokens": input, "input_tokens_details": { "cached_tokens": 0 },
        "output_tokens": output, "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": input + output,
    });
    response
}

pub(super) fn events(answer: &Answer<'_>) -> Vec<Value> {
    let begin = json!({ "type": "response.created", "response": envelope(answer, "in_progress") });
    let end = json!({ "type": "response.completed", "response": object(answer) });
    let words = answer.words().map(|word| {
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

fn envelope(answer: &Answer<'_>, status: &str) -> Value {
    json!({
        "id": "resp_stand_in", "object": "response", "created_at": 0, "status": status,
        "model": answer.request["model"], "output": [], "usage": null,
    })
}

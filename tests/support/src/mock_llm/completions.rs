//! OpenAI's chat completions and completions.
//!
//! <https://platform.openai.com/docs/api-reference/chat> and `/completions`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::reply::{Endpoint, Reply};

pub(super) fn object(reply: &Reply<'_>) -> Value {
    let text = reply.words().concat();
    let (object, choice) = match reply.endpoint {
        Endpoint::Completions => ("text_completion", json!({ "text": text })),
        _ => ("chat.completion", json!({ "message": { "role": "assistant", "content": text } })),
    };
    let mut whole = envelope(reply, object, choice, Some("stop"));
    whole["usage"] = usage(reply);
    whole
}

/// A chunk for each word, one for the end, the usage if it was asked for, and the closing `[DONE]`.
pub(super) fn events(reply: &Reply<'_>) -> Vec<String> {
    let mut events: Vec<_> = reply.words().iter().map(|word| chunk(reply, Some(word)).to_string()).collect();
    events.push(chunk(reply, None).to_string());
    if reply.request["stream_options"]["include_usage"] == true {
        let mut last = chunk(reply, None);
        last["choices"] = json!([]);
        last["usage"] = usage(reply);
        events.push(last.to_string());
    }
    events.push("[DONE]".to_owned());
    events
}

/// One piece of a stream: a word, or the end.
fn chunk(reply: &Reply<'_>, word: Option<&str>) -> Value {
    let finish = if word.is_none() { Some("stop") } else { None };
    match reply.endpoint {
        Endpoint::Completions => {
            envelope(reply, "text_completion", json!({ "text": word.unwrap_or("") }), finish)
        }
        _ => {
            let delta = word.map_or_else(|| json!({}), |it| json!({ "role": "assistant", "content": it }));
            envelope(reply, "chat.completion.chunk", json!({ "delta": delta }), finish)
        }
    }
}

fn envelope(reply: &Reply<'_>, object: &str, mut choice: Value, finish: Option<&str>) -> Value {
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    choice["index"] = json!(0);
    choice["finish_reason"] = json!(finish);
    json!({
        "id": format!("mock-{created}"),
        "object": object,
        "created": created,
        "model": reply.request["model"],
        "system_fingerprint": reply.cluster,
        "choices": [choice],
    })
}

fn usage(reply: &Reply<'_>) -> Value {
    let (prompt, completion) = (reply.input_tokens(), reply.output_tokens());
    let total = prompt + completion;
    json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total })
}

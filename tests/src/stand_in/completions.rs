//! OpenAI's chat completions and completions.
//!
//! <https://platform.openai.com/docs/api-reference/chat> and `/completions`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::answer::{Answer, Endpoint};

pub(super) fn object(answer: &Answer<'_>) -> Value {
    let text = answer.words().concat();
    let (object, choice) = match answer.endpoint {
        Endpoint::Completions => ("text_completion", json!({ "text": text })),
        _ => ("chat.completion", json!({ "message": { "role": "assistant", "content": text } })),
    };
    let mut whole = envelope(answer, object, choice, Some("stop"));
    whole["usage"] = usage(answer);
    whole
}

/// A chunk for each word, one for the end, the usage if it was asked for, and the closing `[DONE]`.
pub(super) fn events(answer: &Answer<'_>) -> Vec<String> {
    let mut events: Vec<_> =
        answer.words().iter().map(|word| chunk(answer, Some(word)).to_string()).collect();
    events.push(chunk(answer, None).to_string());
    if answer.request["stream_options"]["include_usage"] == true {
        let mut last = chunk(answer, None);
        last["choices"] = json!([]);
        last["usage"] = usage(answer);
        events.push(last.to_string());
    }
    events.push("[DONE]".to_owned());
    events
}

/// One piece of a stream: a word, or the end.
fn chunk(answer: &Answer<'_>, word: Option<&str>) -> Value {
    let finish = if word.is_none() { Some("stop") } else { None };
    match answer.endpoint {
        Endpoint::Completions => {
            envelope(answer, "text_completion", json!({ "text": word.unwrap_or("") }), finish)
        }
        _ => {
            let delta = word.map_or_else(|| json!({}), |it| json!({ "role": "assistant", "content": it }));
            envelope(answer, "chat.completion.chunk", json!({ "delta": delta }), finish)
        }
    }
}

fn envelope(answer: &Answer<'_>, object: &str, mut choice: Value, finish: Option<&str>) -> Value {
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    choice["index"] = json!(0);
    choice["finish_reason"] = json!(finish);
    json!({
        "id": format!("stand-in-{created}"),
        "object": object,
        "created": created,
        "model": answer.request["model"],
        "system_fingerprint": answer.cluster,
        "choices": [choice],
    })
}

fn usage(answer: &Answer<'_>) -> Value {
    let (prompt, completion) = (answer.input_tokens(), answer.output_tokens());
    let total = prompt + completion;
    json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total })
}

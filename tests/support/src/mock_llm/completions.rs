//! OpenAI's chat completions and completions.
//!
//! <https://platform.openai.com/docs/api-reference/chat> and `/completions`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::output::{Call, Output};
use super::reply::{Endpoint, Reply};

pub(super) fn object(reply: &Reply<'_>) -> Value {
    let text = reply.text();
    let (object, choice) = match reply.endpoint {
        Endpoint::Completions => ("text_completion", json!({ "text": text })),
        _ => {
            let mut message = json!({ "role": "assistant", "content": text });
            if let Output::Call(call) = &reply.output {
                message["tool_calls"] = json!([tool_call(call, &call.arguments.to_string())]);
            }
            ("chat.completion", json!({ "message": message }))
        }
    };
    let mut whole = envelope(reply, object, choice, Some(finish(reply)));
    whole["usage"] = usage(reply);
    whole
}

/// A chunk for each piece, one for the end, the usage if it was asked for, and the closing `[DONE]`.
pub(super) fn events(reply: &Reply<'_>) -> Vec<String> {
    let mut chunks = match (&reply.output, reply.endpoint) {
        (Output::Text(pieces), Endpoint::Completions) => {
            pieces.iter().map(|piece| text_chunk(reply, piece, None)).collect()
        }
        (Output::Text(pieces), _) => {
            let delta = |piece| json!({ "role": "assistant", "content": piece });
            pieces.iter().map(|piece| chunk(reply, delta(piece), None)).collect()
        }
        (Output::Call(call), _) => call_chunks(reply, call),
    };
    let last = match reply.endpoint {
        Endpoint::Completions => text_chunk(reply, "", Some(finish(reply))),
        _ => chunk(reply, json!({}), Some(finish(reply))),
    };
    chunks.push(last.clone());
    if reply.request["stream_options"]["include_usage"] == true {
        let mut last = last;
        last["choices"] = json!([]);
        last["usage"] = usage(reply);
        chunks.push(last);
    }
    chunks.iter().map(Value::to_string).chain(["[DONE]".to_owned()]).collect()
}

/// The tool's name first, then its arguments in pieces.
fn call_chunks(reply: &Reply<'_>, call: &Call) -> Vec<Value> {
    let mut start = tool_call(call, "");
    start["index"] = json!(0);
    let start = json!({ "role": "assistant", "content": null, "tool_calls": [start] });
    let pieces = call
        .pieces()
        .map(|piece| json!({ "tool_calls": [{ "index": 0, "function": { "arguments": piece } }] }));
    [start].into_iter().chain(pieces).map(|delta| chunk(reply, delta, None)).collect()
}

fn tool_call(call: &Call, arguments: &str) -> Value {
    json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": arguments } })
}

fn chunk(reply: &Reply<'_>, delta: Value, finish: Option<&str>) -> Value {
    envelope(reply, "chat.completion.chunk", json!({ "delta": delta }), finish)
}

fn text_chunk(reply: &Reply<'_>, text: &str, finish: Option<&str>) -> Value {
    envelope(reply, "text_completion", json!({ "text": text }), finish)
}

fn finish(reply: &Reply<'_>) -> &'static str {
    match reply.output {
        Output::Text(_) => "stop",
        Output::Call(_) => "tool_calls",
    }
}

fn envelope(reply: &Reply<'_>, object: &str, mut choice: Value, finish: Option<&str>) -> Value {
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    choice["index"] = json!(0);
    choice["finish_reason"] = json!(finish);
    json!({
        "id": reply.id("chatcmpl"),
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

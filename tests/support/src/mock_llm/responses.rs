//! OpenAI's responses: <https://platform.openai.com/docs/api-reference/responses>.

use serde_json::{Value, json};

use super::output::{Call, Output};
use super::provider_state;
use super::reply::Reply;

pub(super) fn object(reply: &Reply<'_>) -> Value {
    let items: Vec<_> = items(reply).into_iter().map(|item| item.whole).collect();
    let (input, output) = (reply.input_tokens(), reply.output_tokens());
    let mut response = envelope(reply, "completed");
    response["output"] = json!(items);
    response["usage"] = json!({
        "input_tokens": input, "input_tokens_details": { "cached_tokens": 0 },
        "output_tokens": output, "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": input + output,
    });
    response
}

pub(super) fn events(reply: &Reply<'_>) -> Vec<Value> {
    let state = |kind: &str| json!({ "type": kind, "response": envelope(reply, "in_progress") });
    let mut events = vec![state("response.created"), state("response.in_progress")];
    for (index, item) in items(reply).into_iter().enumerate() {
        let mut own = vec![json!({ "type": "response.output_item.added", "item": item.start })];
        own.extend(item.events);
        own.push(json!({ "type": "response.output_item.done", "item": item.whole }));
        for event in &mut own {
            event["output_index"] = json!(index);
        }
        events.extend(own);
    }
    events.push(json!({ "type": "response.completed", "response": object(reply) }));
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    events
}

/// An item of the output: whole, and as a stream has it.
struct Item {
    whole: Value,
    start: Value,
    /// What comes between the item's first event and its last.
    events: Vec<Value>,
}

fn items(reply: &Reply<'_>) -> Vec<Item> {
    let reasoning = &reply.request["reasoning"];
    let reasons = reasoning.is_object() && reasoning["effort"] != "none";
    let output = match &reply.output {
        Output::Text(pieces) => text(&reply.id("msg"), pieces),
        Output::Call(call) => function_call(&reply.id("fc"), call),
    };
    reasons.then(|| reasoning_item(reply)).into_iter().chain([output]).collect()
}

fn reasoning_item(reply: &Reply<'_>) -> Item {
    let include = reply.request["include"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut whole = json!({ "id": reply.id("rs"), "type": "reasoning", "summary": [] });
    if include.iter().any(|field| field == "reasoning.encrypted_content") {
        whole["encrypted_content"] = json!(provider_state::sealed(reply.cluster));
    }
    Item { start: whole.clone(), whole, events: Vec::new() }
}

fn text(id: &str, pieces: &[String]) -> Item {
    let message = |status: &str, content: &[Value]| json!({ "id": id, "type": "message", "role": "assistant", "status": status, "content": content });
    let part = |text: &str| json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] });
    let text = pieces.concat();
    let deltas = pieces
        .iter()
        .map(|piece| json!({ "type": "response.output_text.delta", "delta": piece, "logprobs": [] }));
    let mut events = vec![json!({ "type": "response.content_part.added", "part": part("") })];
    events.extend(deltas);
    events.push(json!({ "type": "response.output_text.done", "text": text, "logprobs": [] }));
    events.push(json!({ "type": "response.content_part.done", "part": part(&text) }));
    for event in &mut events {
        event["item_id"] = json!(id);
        event["content_index"] = json!(0);
    }
    Item { whole: message("completed", &[part(&text)]), start: message("in_progress", &[]), events }
}

fn function_call(id: &str, call: &Call) -> Item {
    let item = |status: &str, arguments: &str| {
        json!({
            "id": id, "type": "function_call", "call_id": call.id, "name": call.name, "status": status,
            "arguments": arguments,
        })
    };
    let arguments = call.arguments.to_string();
    let delta = |piece| json!({ "type": "response.function_call_arguments.delta", "delta": piece });
    let mut events: Vec<_> = call.pieces().map(delta).into();
    events.push(json!({
        "type": "response.function_call_arguments.done", "arguments": arguments, "name": call.name,
    }));
    for event in &mut events {
        event["item_id"] = json!(id);
    }
    Item { whole: item("completed", &arguments), start: item("in_progress", ""), events }
}

fn envelope(reply: &Reply<'_>, status: &str) -> Value {
    json!({
        "id": reply.id("resp"), "object": "response", "created_at": 0, "status": status,
        "model": reply.request["model"], "output": [], "usage": null, "tools": [], "parallel_tool_calls": false,
        "tool_choice": "auto", "previous_response_id": reply.request["previous_response_id"],
    })
}

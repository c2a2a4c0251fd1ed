//! Anthropic's messages: <https://docs.anthropic.com/en/api/messages> and `/messages-streaming`.

use serde_json::{Value, json};

use super::output::Output;
use super::provider_state;
use super::reply::Reply;

pub(super) fn object(reply: &Reply<'_>) -> Value {
    let content: Vec<_> = blocks(reply).into_iter().map(|block| block.whole).collect();
    message(reply, &json!(content), Some(stop_reason(reply)), reply.output_tokens())
}

pub(super) fn events(reply: &Reply<'_>) -> Vec<Value> {
    // As Anthropic does: the input at the start, with the output so far; the whole output at the end.
    let start = json!({ "type": "message_start", "message": message(reply, &json!([]), None, 1) });
    let blocks = blocks(reply).into_iter().enumerate().flat_map(|(index, block)| {
        let begin = json!({ "type": "content_block_start", "index": index, "content_block": block.start });
        let deltas = block
            .deltas
            .into_iter()
            .map(move |delta| json!({ "type": "content_block_delta", "index": index, "delta": delta }));
        let end = json!({ "type": "content_block_stop", "index": index });
        [begin, json!({ "type": "ping" })].into_iter().chain(deltas).chain([end])
    });
    let end = [
        json!({
            "type": "message_delta", "delta": { "stop_reason": stop_reason(reply), "stop_sequence": null },
            "usage": { "output_tokens": reply.output_tokens() },
        }),
        json!({ "type": "message_stop" }),
    ];
    [start].into_iter().chain(blocks).chain(end).collect()
}

/// A block of the content: whole, and as a stream has it.
struct Block {
    whole: Value,
    start: Value,
    deltas: Vec<Value>,
}

fn blocks(reply: &Reply<'_>) -> Vec<Block> {
    let thinks = matches!(reply.request["thinking"]["type"].as_str(), Some("enabled" | "adaptive"));
    let thinking = thinks.then(|| thinking(reply));
    let output = match &reply.output {
        Output::Text(pieces) => Block {
            whole: json!({ "type": "text", "text": pieces.concat() }),
            start: json!({ "type": "text", "text": "" }),
            deltas: pieces.iter().map(|piece| json!({ "type": "text_delta", "text": piece })).collect(),
        },
        Output::Call(call) => {
            let block = |input: &Value| json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": input });
            let delta = |piece| json!({ "type": "input_json_delta", "partial_json": piece });
            Block {
                whole: block(&call.arguments),
                start: block(&json!({})),
                deltas: call.pieces().map(delta).into(),
            }
        }
    };
    thinking.into_iter().chain([output]).collect()
}

fn thinking(reply: &Reply<'_>) -> Block {
    let signature = provider_state::sealed(reply.cluster);
    Block {
        whole: json!({ "type": "thinking", "thinking": "Well.", "signature": signature }),
        start: json!({ "type": "thinking", "thinking": "", "signature": "" }),
        deltas: vec![
            json!({ "type": "thinking_delta", "thinking": "Well." }),
            json!({ "type": "signature_delta", "signature": signature }),
        ],
    }
}

fn stop_reason(reply: &Reply<'_>) -> &'static str {
    match reply.output {
        Output::Text(_) => "end_turn",
        Output::Call(_) => "tool_use",
    }
}

fn message(reply: &Reply<'_>, content: &Value, stop: Option<&str>, output_tokens: usize) -> Value {
    json!({
        "id": reply.id("msg"), "type": "message", "role": "assistant", "model": reply.request["model"],
        "content": content, "stop_reason": stop, "stop_sequence": null,
        "usage": { "input_tokens": reply.input_tokens(), "output_tokens": output_tokens },
    })
}

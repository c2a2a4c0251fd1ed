//! OpenAI's embeddings: <https://platform.openai.com/docs/api-reference/embeddings>.

use serde_json::{Value, json};

use super::reply::Reply;

pub(super) fn object(reply: &Reply<'_>) -> Value {
    let inputs = reply.request["input"].as_array().map_or(1, Vec::len);
    let data: Vec<_> = (0..inputs)
        .map(|index| json!({ "object": "embedding", "index": index, "embedding": [0.6, 0.8] }))
        .collect();
    let tokens = reply.input_tokens();
    json!({
        "object": "list", "data": data, "model": reply.request["model"],
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })
}

//! OpenAI's embeddings: <https://platform.openai.com/docs/api-reference/embeddings>.

use serde_json::{Value, json};

use super::reply::Reply;

/// The embedding of everything, [0.6, 0.8], as the official clients ask for it: little-endian floats in base64.
const IN_BASE64: &str = "mpkZP83MTD8=";

pub(super) fn object(reply: &Reply<'_>) -> Value {
    let inputs = reply.request["input"].as_array().map_or(1, Vec::len);
    let embedding = match reply.request["encoding_format"].as_str() {
        Some("base64") => json!(IN_BASE64),
        _ => json!([0.6, 0.8]),
    };
    let data: Vec<_> = (0..inputs)
        .map(|index| json!({ "object": "embedding", "index": index, "embedding": embedding }))
        .collect();
    let tokens = reply.input_tokens();
    json!({
        "object": "list", "data": data, "model": reply.request["model"],
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })
}

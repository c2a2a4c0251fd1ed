//! OpenAI's embeddings: <https://platform.openai.com/docs/api-reference/embeddings>.

use serde_json::{Value, json};

use super::answer::Answer;

pub(super) fn object(answer: &Answer<'_>) -> Value {
    let inputs = answer.request["input"].as_array().map_or(1, Vec::len);
    let data: Vec<_> = (0..inputs)
        .map(|index| json!({ "object": "embedding", "index": index, "embedding": [0.6, 0.8] }))
        .collect();
    let tokens = answer.input_tokens();
    json!({
        "object": "list", "data": data, "model": answer.request["model"],
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })
}

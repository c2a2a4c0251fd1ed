//! OpenAI's chat completions: <https://platform.openai.com/docs/api-reference/chat>.

use anyhow::{Context, Result};
use llm_router_routing::usage::{Usage, UsageReader};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::token_usage::TokenUsage;

/// A completion, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Completion {
    /// What the model wrote; empty if it wrote nothing, for example if it reasoned until the token limit.
    pub(crate) text: String,
    /// Why the model stopped: `stop`, `length`, `content_filter`.
    pub(crate) finish_reason: Option<String>,
    /// The tokens used, if the provider reports them.
    pub(crate) usage: Option<TokenUsage>,
}

impl Completion {
    /// Why the model stopped writing, where the provider withholds the rest.
    const FILTERED: &str = "content_filter";

    /// Reads the body of a successful response.
    ///
    /// # Errors
    /// If it is not a chat completion.
    pub(super) fn from_body(body: &[u8]) -> Result<Self> {
        let response: Value = serde_json::from_slice(body).context("the response is not JSON")?;
        let choice = response.pointer("/choices/0").context("the response has no \"choices\"")?;
        let message = choice.get("message").context("the response has no \"message\"")?;
        let text = text(&message["content"]).or_else(|| text(&message["refusal"]));
        let mut usage = UsageReader::new(Some("application/json"));
        usage.read(body);
        Ok(Self {
            text: text.unwrap_or_default(),
            finish_reason: choice["finish_reason"].as_str().map(str::to_owned),
            usage: usage.whole_usage().map(|usage| with_total(usage, &response).into()),
        })
    }

    /// Whether the provider withheld a part.
    pub(crate) fn is_filtered(&self) -> bool {
        self.finish_reason.as_deref() == Some(Self::FILTERED)
    }

    /// Whether the maximum of tokens cut it.
    pub(crate) fn is_cut(&self) -> bool {
        self.finish_reason.as_deref() == Some("length")
    }
}

/// The usage, where the total has more than prompt and completion: some providers leave the reasoning out of the completion, but
/// bill it.
fn with_total(usage: Usage, response: &Value) -> Usage {
    let total = response.pointer("/usage/total_tokens").and_then(Value::as_u64).unwrap_or(0);
    let output_tokens = usage.output_tokens.max(total.saturating_sub(usage.input_tokens));
    Usage { output_tokens, ..usage }
}

/// The text of a message's content: a string, or the texts in a list of parts.
fn text(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => Some(parts.iter().filter_map(|part| part["text"].as_str()).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn completion(choice: &Value) -> Completion {
        let body = json!({ "choices": [choice], "usage": { "prompt_tokens": 7, "completion_tokens": 2 } });
        Completion::from_body(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn text_finish_reason_and_usage_are_read() {
        let found = completion(&json!({ "message": { "content": "Hi" }, "finish_reason": "stop" }));
        let usage = TokenUsage { prompt_tokens: 7, completion_tokens: 2, cached_tokens: None };
        assert_eq!((found.text.as_str(), found.usage), ("Hi", Some(usage)));
        assert!(!found.is_cut() && !found.is_filtered());
        let parts = json!([{ "type": "thinking", "thinking": [] }, { "type": "text", "text": "Hi" }]);
        assert_eq!(completion(&json!({ "message": { "content": parts } })).text, "Hi");
        let empty = completion(&json!({ "message": { "content": null }, "finish_reason": "length" }));
        assert!(empty.text.is_empty() && empty.is_cut());
        let declined = json!({ "message": { "content": null, "refusal": "I cannot." } });
        assert_eq!(completion(&declined).text, "I cannot.");
    }

    #[test]
    fn usage_without_one_of_its_counts_is_none_and_a_larger_total_counts() {
        let tokens = |usage: Value| {
            let body = json!({ "choices": [{ "message": { "content": "Hi" } }], "usage": usage });
            let usage = Completion::from_body(body.to_string().as_bytes()).unwrap().usage;
            usage.map(|usage| (usage.prompt_tokens, usage.completion_tokens))
        };
        for output in [json!(null), json!(-1), json!("many")] {
            assert_eq!(tokens(json!({ "prompt_tokens": 7, "completion_tokens": output })), None);
        }
        assert_eq!(tokens(json!({ "prompt_tokens": 7, "total_tokens": 9 })), None);
        assert_eq!(tokens(json!({ "completion_tokens": 2 })), None);
        let usage = |total: u64| json!({ "prompt_tokens": 7, "completion_tokens": 2, "total_tokens": total });
        assert_eq!(tokens(usage(9)), Some((7, 2)));
        assert_eq!(tokens(usage(30)), Some((7, 23)), "reasoning outside the completion");
        assert_eq!(tokens(usage(0)), Some((7, 2)));
    }

    #[test]
    fn another_body_is_rejected() {
        for body in ["", "<html>", "{}", r#"{"choices": []}"#, r#"{"choices": [{"text": "Hi"}]}"#] {
            assert!(Completion::from_body(body.as_bytes()).is_err(), "{body}");
        }
    }
}

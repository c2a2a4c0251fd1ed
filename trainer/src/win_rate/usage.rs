//! The tokens of graded completions, for costs.

use anyhow::{Context, Result};
use llm_router_classifier::records::Record;
use serde::Deserialize;
use serde_json::Value;

use crate::token_usage::TokenUsage;

/// The tokens of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenCounts {
    /// The tokens of the prompt.
    pub prompt: f64,
    /// The tokens of the completion.
    pub completion: f64,
}

impl From<TokenUsage> for TokenCounts {
    fn from(usage: TokenUsage) -> Self {
        Self { prompt: usage.prompt_tokens as f64, completion: usage.completion_tokens as f64 }
    }
}

/// Fields with usage that cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnreadableUsage {
    /// Their number.
    pub count: usize,
    /// Where the first one is, and what is wrong with it.
    pub first: String,
}

/// The tokens of a completion, if the row has them. In CSV, they are JSON in a text.
pub(super) fn tokens(record: &Record, field: &str) -> Result<Option<TokenCounts>> {
    let usage = match record.fields.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) => serde_json::from_str(text),
        Some(usage) => TokenUsage::deserialize(usage),
    };
    Ok(Some(usage.with_context(|| format!("{record}: the field {field:?}"))?.into()))
}

impl UnreadableUsage {
    /// The tokens that were read. An error is counted, and leaves them unknown.
    pub(super) fn or(&mut self, tokens: Result<Option<TokenCounts>>) -> Option<TokenCounts> {
        tokens.unwrap_or_else(|error| {
            if self.count == 0 {
                self.first = format!("{error:#}");
            }
            self.count += 1;
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::win_rate::{GradedFields, GradedPrompts};

    #[test]
    fn usage_is_read_in_both_spellings_and_what_cannot_be_read_is_counted() {
        let rows = r#"{"text": "a", "weak": 1, "strong": 1, "weak_usage": {"prompt_tokens": 10, "completion_tokens": 20},
            "strong_usage": {"input_tokens": 12, "output_tokens": 30}}
            {"text": "b", "weak": 1, "strong": 1, "weak_usage": null, "strong_usage": "{\"prompt_tokens\":1,\"completion_tokens\":2}"}
            {"text": "c", "weak": 1, "strong": 1, "weak_usage": {"prompt_tokens": 12}, "strong_usage": {"tokens": 12}}"#
            .replace(",\n", ",");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("graded.jsonl");
        std::fs::write(&path, rows).unwrap();
        let fields = GradedFields { text: "text".into(), group: "group".into() };
        let found = GradedPrompts::read(&[path], &fields).unwrap();
        let counts = |prompt, completion| Some(TokenCounts { prompt, completion });
        let tokens: Vec<_> = found.prompts.iter().map(|it| (it.weak.tokens, it.strong.tokens)).collect();
        assert_eq!(
            tokens,
            [(counts(10.0, 20.0), counts(12.0, 30.0)), (None, counts(1.0, 2.0)), (None, None)]
        );
        let UnreadableUsage { count, first } = found.unreadable_usage;
        assert_eq!(count, 2);
        assert!(
            first.contains("line 3: the field \"weak_usage\": missing field `completion_tokens`"),
            "{first}"
        );
    }
}

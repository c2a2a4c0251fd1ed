//! The tokens of a request, as `grade` writes them and `win-rate` reads them.

use llm_router_routing::usage::Usage;
use serde::{Deserialize, Serialize};

/// Tokens that a request used, under OpenAI's names. Those of other providers are read as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenUsage {
    /// Tokens of the prompt, including the cached ones.
    #[serde(alias = "input_tokens")]
    pub(crate) prompt_tokens: u64,
    /// Tokens of the completion, including its reasoning.
    #[serde(alias = "output_tokens")]
    pub(crate) completion_tokens: u64,
    /// Tokens of the prompt that came from the provider's cache.
    #[serde(default, alias = "cached_input_tokens", skip_serializing_if = "Option::is_none")]
    pub(crate) cached_tokens: Option<u64>,
}

impl From<Usage> for TokenUsage {
    fn from(usage: Usage) -> Self {
        let Usage { input_tokens, output_tokens, cached_input_tokens } = usage;
        Self {
            prompt_tokens: input_tokens,
            completion_tokens: output_tokens,
            cached_tokens: cached_input_tokens,
        }
    }
}

impl From<TokenUsage> for Usage {
    fn from(usage: TokenUsage) -> Self {
        let TokenUsage { prompt_tokens, completion_tokens, cached_tokens } = usage;
        Self {
            input_tokens: prompt_tokens,
            output_tokens: completion_tokens,
            cached_input_tokens: cached_tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn both_spellings_are_read_and_openais_is_written() {
        let read = |value: Value| serde_json::from_value::<TokenUsage>(value);
        let usage = TokenUsage { prompt_tokens: 7, completion_tokens: 2, cached_tokens: Some(3) };
        let written = json!({ "prompt_tokens": 7, "completion_tokens": 2, "cached_tokens": 3 });
        assert_eq!(json!(usage), written);
        assert_eq!(read(written).unwrap(), usage);
        let other = json!({ "input_tokens": 7, "output_tokens": 2, "cached_input_tokens": 3 });
        assert_eq!(read(other).unwrap(), usage);
        let total = json!({ "prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9 });
        assert_eq!(read(total).unwrap(), TokenUsage { cached_tokens: None, ..usage });
        assert!(read(json!({ "prompt_tokens": 7 })).is_err());
    }
}

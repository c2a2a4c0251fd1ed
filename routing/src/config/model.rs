//! The LLMs: their cluster, capabilities and cost.

use std::fmt;

use super::{ModelId, ModelName};
use crate::requirements::{Api, Capabilities, Requirements, UnmetRequirement};
use crate::rewrite::BodyEdits;
use crate::usage::Usage;

/// An LLM.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Its position among the configuration's models.
    pub id: ModelId,
    /// The name that policies, clients and metrics use.
    pub name: ModelName,
    /// The Envoy cluster that serves it.
    pub cluster: String,
    /// The value of `model` in the bodies that its API gets.
    pub upstream: String,
    /// The API that it speaks.
    pub api: Api,
    /// Its capabilities; none if they are not declared: then it has all.
    pub capabilities: Option<Capabilities>,
    /// The maximum number of tokens of a prompt and its completion together, if it is declared.
    pub context: Option<u64>,
    /// The price of its tokens, if it is declared.
    pub cost: Option<Cost>,
    /// What replaces `/v1` in the path of its requests, if anything does.
    pub base_path: Option<String>,
    /// The `:authority` of its requests, if not the client's.
    pub host: Option<String>,
    /// The edits of the bodies that it gets.
    pub body: BodyEdits,
}

impl Model {
    /// What a request that took these tokens of `other` would have cost here, in dollars, if there is a price. Nothing of its
    /// prompt would have been in the cache, unless both are the same LLM, as at several efforts.
    pub fn cost_in_place_of(&self, other: &Self, usage: &Usage) -> Option<f64> {
        let cost = self.cost?;
        let is_same = self.cluster == other.cluster && self.upstream == other.upstream;
        Some(if is_same { cost.of_usage(usage) } else { cost.of(usage.input_tokens, usage.output_tokens) })
    }

    /// The sum of input and output price, by which models are compared; 0 without prices.
    pub fn price(&self) -> f64 {
        self.cost.map_or(0.0, |cost| cost.input + cost.output)
    }

    /// The first requirement of a request that this model does not meet, if any.
    pub fn lacks(&self, needs: &Requirements) -> Option<UnmetRequirement> {
        if self.api != needs.api {
            return Some(UnmetRequirement::Api(needs.api));
        }
        if let Some(missing) = self.capabilities.and_then(|has| needs.capabilities.first_missing_in(has)) {
            return Some(UnmetRequirement::Capability(missing));
        }
        let room = self.context?;
        (needs.tokens > room).then_some(UnmetRequirement::Context { tokens: needs.tokens })
    }
}

/// Prices in dollars per million tokens, as providers list them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Tokens of the prompt.
    pub input: f64,
    /// Tokens of the prompt that come from the provider's cache.
    pub cached_input: f64,
    /// Tokens of the completion.
    pub output: f64,
}

impl Cost {
    /// The price of a request without cached tokens, in dollars.
    pub fn of(&self, input_tokens: u64, output_tokens: u64) -> f64 {
        const PER: f64 = 1e6;
        (self.input * input_tokens as f64 + self.output * output_tokens as f64) / PER
    }

    /// The price of a request with these tokens, in dollars. The tokens of the prompt include the cached ones.
    pub fn of_usage(&self, usage: &Usage) -> f64 {
        const PER: f64 = 1e6;
        let cached = usage.cached_input_tokens.unwrap_or(0).min(usage.input_tokens);
        self.of(usage.input_tokens - cached, usage.output_tokens) + self.cached_input * cached as f64 / PER
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { input, cached_input, output } = self;
        write!(f, "${input}")?;
        if cached_input != input {
            write!(f, " (${cached_input} cached)")?;
        }
        write!(f, " / ${output} per million tokens")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_have_their_own_price() {
        let cost = Cost { input: 2.0, cached_input: 0.5, output: 10.0 };
        let usage = |cached_input_tokens| Usage {
            input_tokens: 1_000_000,
            output_tokens: 100_000,
            cached_input_tokens,
        };
        assert_eq!(cost.of_usage(&usage(None)), 3.0);
        assert_eq!(cost.of_usage(&usage(Some(500_000))), 2.25);
        assert_eq!(cost.of_usage(&usage(Some(u64::MAX))), 1.5, "no more than all");
    }
}

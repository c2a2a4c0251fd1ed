//! The LLMs: where they are, what they can do, what they cost.

use std::fmt;
use std::sync::Arc;

use super::{ModelId, ModelName};
use crate::requirements::{Api, Capabilities, Requirements, UnmetRequirement};
use crate::rewrite::BodyEdits;

/// An LLM.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Its position among the configuration's models.
    pub id: ModelId,
    /// The name that policies, clients and metrics use.
    pub name: ModelName,
    /// The Envoy cluster that serves it.
    pub cluster: String,
    /// The value that its API wants in the body's `model`.
    pub upstream: String,
    /// The shape of requests that it takes.
    pub api: Api,
    /// What it can do; none if that is not declared, and then nothing is held against it.
    pub capabilities: Option<Capabilities>,
    /// The most tokens that a prompt and its answer may have together, if that is declared.
    pub context: Option<u64>,
    /// What its tokens cost, if that is declared.
    pub cost: Option<Cost>,
    /// What stands in place of `/v1` in the path that it gets, if not that.
    pub base_path: Option<String>,
    /// The `:authority` that it gets, if not the client's.
    pub host: Option<String>,
    /// How the bodies that it gets differ from the client's.
    pub body: BodyEdits,
}

impl Model {
    /// What of a request's needs this model cannot meet, if anything.
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

/// Prices in dollars for a million tokens, as providers list them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Tokens of the prompt.
    pub input: f64,
    /// Tokens of the answer.
    pub output: f64,
}

impl Cost {
    /// The price of one request, in dollars.
    pub fn of(&self, input_tokens: u64, output_tokens: u64) -> f64 {
        const PER: f64 = 1e6;
        (self.input * input_tokens as f64 + self.output * output_tokens as f64) / PER
    }
}

/// What all models cost that have a price.
#[derive(Clone, Debug, PartialEq)]
pub struct Prices(Arc<[Cost]>);

impl Prices {
    /// What a request costs where it costs most, in dollars; none if no model has a price.
    pub fn dearest(&self, input_tokens: u64, output_tokens: u64) -> Option<f64> {
        self.0.iter().map(|cost| cost.of(input_tokens, output_tokens)).max_by(f64::total_cmp)
    }
}

impl FromIterator<Cost> for Prices {
    fn from_iter<I: IntoIterator<Item = Cost>>(costs: I) -> Self {
        Self(costs.into_iter().collect())
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${} / ${} per million tokens", self.input, self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_model_costs_most_depends_on_the_tokens() {
        let prices: Prices =
            [Cost { input: 1.0, output: 2.0 }, Cost { input: 0.5, output: 9.0 }].into_iter().collect();
        assert_eq!(prices.dearest(1_000_000, 0), Some(1.0));
        assert_eq!(prices.dearest(0, 1_000_000), Some(9.0));
        assert_eq!(Prices::from_iter([]).dearest(1, 1), None);
    }
}

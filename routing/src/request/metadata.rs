//! The body field by which clients of NVIDIA's LLM Router blueprint choose a policy or a model.

use serde::Deserialize;

use crate::rejection::Rejection;

/// The field's name; it never reaches the LLM.
pub const METADATA_FIELD: &str = "nim-llm-router";

/// The client's choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Directives {
    /// The policy; with none, a choice of lower precedence or the default applies.
    pub policy: Option<String>,
    /// How the model is chosen.
    pub strategy: ModelChoice,
    /// The threshold for the classifier's prediction, instead of the policy's.
    pub threshold: Option<f32>,
}

/// How the model is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelChoice {
    /// `"triton"`, the blueprint's name for: the classifier decides.
    Classify,
    /// `"manual"`: this model, alias, or class of the policy.
    Manual {
        /// The name that the client gave.
        model: String,
    },
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    policy: Option<String>,
    #[serde(default)]
    routing_strategy: Option<RoutingStrategy>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    threshold: Option<f32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RoutingStrategy {
    /// The blueprint's clients may send an empty text for an omitted value.
    #[serde(alias = "")]
    Triton,
    Manual,
}

impl Directives {
    /// None if the field is null.
    pub(super) fn parse(raw: &[u8]) -> Result<Option<Self>, Rejection> {
        let invalid = |problem: String| {
            Rejection::invalid(Some(METADATA_FIELD), format!("{METADATA_FIELD}: {problem}"))
        };
        let raw: Option<Raw> = serde_json::from_slice(raw).map_err(|error| invalid(error.to_string()))?;
        let Some(raw) = raw else { return Ok(None) };
        let strategy = match (raw.routing_strategy, raw.model.filter(|model| !model.is_empty())) {
            (Some(RoutingStrategy::Manual), Some(model)) => ModelChoice::Manual { model },
            (Some(RoutingStrategy::Manual), None) => {
                return Err(invalid("routing_strategy \"manual\" needs a model".to_owned()));
            }
            (Some(RoutingStrategy::Triton) | None, _) => ModelChoice::Classify,
        };
        let threshold = raw.threshold;
        if threshold.is_some_and(|threshold| !(0.0..=1.0).contains(&threshold)) {
            return Err(invalid("threshold must be between 0 and 1".to_owned()));
        }
        Ok(Some(Self { policy: raw.policy.filter(|policy| !policy.is_empty()), strategy, threshold }))
    }
}

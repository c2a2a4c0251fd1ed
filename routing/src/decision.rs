//! The outcome of routing: which LLM, and why.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::classification::{Classification, Label};
use crate::config::{Model, Policy};
use crate::headers;

/// The routing decision for a request.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The chosen LLM.
    pub model: Arc<Model>,
    /// The policy that chose it; none when the client or a rule named the model.
    pub policy: Option<Arc<Policy>>,
    /// The prediction of the classifier, if it was called and responded.
    pub classification: Option<Classification>,
    /// The class of the policy that the client named, if it did.
    pub class: Option<String>,
    /// Why this model was chosen.
    pub reason: Reason,
    /// The models that take the request if the model fails, best first; none without `failover`, or where the client or a rule
    /// named the model.
    pub next: Vec<Arc<Model>>,
    /// For a conversation that keeps its model: the model for its last message alone.
    pub alternative: Option<Arc<Model>>,
    /// What the policy's candidate would have chosen; none if it has no candidate.
    pub comparison: Option<Comparison>,
}

/// What another policy would have chosen for the same request.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The policy that made the decision.
    pub policy: Arc<Policy>,
    /// The model that its candidate would have chosen; none if the candidate has no prediction, or would reject the request.
    pub model: Option<Arc<Model>>,
}

/// Why a model was chosen, as operators see it in `x-llm-router-reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// By the classifier's prediction.
    Classified,
    /// By the cached prediction for the same text.
    Cached,
    /// The client named a configured model, or a class of the policy.
    Manual,
    /// The client named an alias.
    Alias,
    /// A rule of the configuration matched.
    Rule,
    /// By an earlier message of the conversation, or because the model made the response that the request continues.
    Sticky,
    /// A fallback model, because the chosen model does not support the request.
    Capability,
    /// The policy's default: the confidence was too low, the label has no route, or the request has no text.
    Default,
    /// The policy's default, because the classifier was unavailable.
    ClassifierUnavailable,
    /// The next model of the policy's `fallback`, because the models before it failed.
    Failover,
    /// The model would have been chosen: the router is in shadow mode.
    Shadow,
}

impl Reason {
    /// The header value and stats tag.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classified => "classified",
            Self::Cached => "cached",
            Self::Manual => "manual",
            Self::Alias => "alias",
            Self::Rule => "rule",
            Self::Sticky => "sticky",
            Self::Capability => "capability",
            Self::Default => "default",
            Self::ClassifierUnavailable => "classifier_unavailable",
            Self::Failover => "failover",
            Self::Shadow => "shadow",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Decision {
    /// The model for this attempt; attempt 1 is the chosen model. Attempts past the end use the last model.
    pub fn at_attempt(&self, attempt: u64) -> &Arc<Model> {
        let place = attempt.checked_sub(2).and_then(|place| usize::try_from(place).ok());
        let next = place.and_then(|place| self.next.get(place).or(self.next.last()));
        next.unwrap_or(&self.model)
    }

    /// The response headers that explain the decision to the client.
    pub fn response_headers(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        let label = self.classification.as_ref().and_then(Classification::label);
        let score = match &self.classification {
            Some(Classification::Score(score)) => Some(score.get()),
            _ => None,
        };
        let policy = self.policy.as_ref().map(|policy| policy.name.as_str());
        let chosen = self.class.as_deref().or(label.map(Label::name));
        let all = [
            (headers::MODEL, Some(Cow::Borrowed(self.model.name.as_str()))),
            (headers::REASON, Some(Cow::Borrowed(self.reason.as_str()))),
            (headers::CHOSEN_POLICY, policy.map(Cow::Borrowed)),
            (headers::LABEL, label.map(|label| Cow::Borrowed(label.name()))),
            (headers::CHOSEN_CLASSIFIER, chosen.map(Cow::Borrowed)),
            (headers::CONFIDENCE, label.map(|label| Cow::Owned(thousandths(label.confidence())))),
            (headers::SCORE, score.map(|score| Cow::Owned(thousandths(score)))),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

/// A number of 0 to 1 with three decimals. Writing a float is slow, especially in Wasm.
fn thousandths(number: f32) -> String {
    let thousandths = (f64::from(number) * 1000.0).round_ties_even() as u32;
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn three_decimals_are_those_of_the_float(number in prop_oneof![0.0..=1.0_f32, (0..=16_u8).prop_map(|it| f32::from(it) / 16.0)]) {
            prop_assert_eq!(thousandths(number), format!("{number:.3}"));
        }
    }
}

//! The outcome of routing: which LLM, and why.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::classification::Classification;
use crate::config::{Model, Policy};
use crate::headers;

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The chosen LLM.
    pub model: Arc<Model>,
    /// The policy that chose it; none when the client or a rule named the model.
    pub policy: Option<Arc<Policy>>,
    /// What the classifier said, if it was asked and answered.
    pub classification: Option<Classification>,
    /// Why this model.
    pub reason: Reason,
}

/// Why a model was chosen, as operators see it in `x-llm-router-reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// By what the classifier says.
    Classified,
    /// By what the classifier said of the same text before.
    Cached,
    /// The client named a configured model, or a class of the policy.
    Manual,
    /// The client named an alias.
    Alias,
    /// A rule of the configuration matched.
    Rule,
    /// The conversation's model.
    Sticky,
    /// The chosen model could not take the request, so another of the policy does.
    Capability,
    /// The policy's default: its classifier was not sure enough, the label has no route, or there was no text.
    Default,
    /// The policy's default, because the classifier could not be asked.
    Fallback,
    /// It only would have been chosen: the router runs in shadow.
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
            Self::Fallback => "fallback",
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
    /// The response headers that explain the decision to the client.
    pub fn response_headers(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        let label = self.classification.as_ref().and_then(Classification::label);
        let score = match &self.classification {
            Some(Classification::Score(score)) => Some(score.get()),
            _ => None,
        };
        let policy = self.policy.as_ref().map(|policy| policy.name.as_str());
        let all = [
            (headers::MODEL, Some(Cow::Borrowed(self.model.name.as_str()))),
            (headers::REASON, Some(Cow::Borrowed(self.reason.as_str()))),
            (headers::CHOSEN_POLICY, policy.map(Cow::Borrowed)),
            (headers::LABEL, label.map(|label| Cow::Borrowed(label.name()))),
            (headers::CHOSEN_CLASSIFIER, label.map(|label| Cow::Borrowed(label.name()))),
            (headers::CONFIDENCE, label.map(|label| Cow::Owned(format!("{:.3}", label.confidence())))),
            (headers::SCORE, score.map(|score| Cow::Owned(format!("{score:.3}")))),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

//! The outcome of routing: which LLM, and why.

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
    pub fn response_headers(&self) -> Vec<(&'static str, String)> {
        let mut all =
            vec![(headers::MODEL, self.model.name.to_string()), (headers::REASON, self.reason.to_string())];
        if let Some(policy) = &self.policy {
            all.push((headers::CHOSEN_POLICY, policy.name.to_string()));
        }
        if let Some(label) = self.classification.as_ref().and_then(Classification::label) {
            all.push((headers::LABEL, label.name().to_owned()));
            all.push((headers::CHOSEN_CLASSIFIER, label.name().to_owned()));
            all.push((headers::CONFIDENCE, format!("{:.3}", label.confidence())));
        }
        if let Some(Classification::Score(score)) = &self.classification {
            all.push((headers::SCORE, format!("{:.3}", score.get())));
        }
        all
    }
}

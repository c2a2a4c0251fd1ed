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
    /// The policy that chose it; none when the client named the model.
    pub policy: Option<Arc<Policy>>,
    /// What the classifier said, if it was asked and answered.
    pub classification: Option<Classification>,
    /// Why this model.
    pub reason: Reason,
}

/// Why a model was chosen, as operators see it in `x-llm-router-reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The policy has a route for the label, and the classifier was sure enough.
    Classified,
    /// The client named a configured model, or a class of the policy.
    Manual,
    /// The client named an alias.
    Alias,
    /// The policy's default: its classifier was not sure enough, the label has no route, or there was no text.
    Default,
    /// The policy's default, because the classifier could not be asked.
    Fallback,
}

impl Reason {
    /// The header value and stats tag.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classified => "classified",
            Self::Manual => "manual",
            Self::Alias => "alias",
            Self::Default => "default",
            Self::Fallback => "fallback",
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
        if let Some(classification) = &self.classification {
            all.push((headers::LABEL, classification.label().to_owned()));
            all.push((headers::CHOSEN_CLASSIFIER, classification.label().to_owned()));
            all.push((headers::CONFIDENCE, format!("{:.3}", classification.confidence())));
        }
        all
    }
}

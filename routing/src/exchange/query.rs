//! The call to the classifier: its content, and its outcomes.

use std::sync::Arc;
use std::time::Duration;

use crate::classification::Prediction;
use crate::config::{Classifier, Examples, PolicyName};
use crate::request::{Prompt, RequestHead};

/// The content of a call to the sidecar. It borrows from the exchange, which waits for the call.
#[derive(Debug)]
pub struct Query<'a> {
    /// The classifiers to call; at most one of them uses few-shot examples.
    pub classifiers: &'a [Classifier],
    /// The policy that the predictions are for; none if only rules read them.
    pub policy: Option<&'a PolicyName>,
    /// The part of the few-shot examples in the call; meaningless for other classifiers.
    pub payload: ExamplesPayload,
    /// Whether only a candidate reads the prediction by the examples, so that nothing waits for it.
    pub examples_are_optional: bool,
    /// What to classify.
    pub prompt: &'a Prompt,
    /// The client's headers, for the trace that the call belongs to.
    pub head: &'a RequestHead,
    /// How long the call may take.
    pub timeout: Duration,
}

impl<'a> Query<'a> {
    /// The names of the classifiers that gave none of these predictions.
    pub fn missing<T>(&self, given: &[(String, T)]) -> Vec<&'a str> {
        let is_missing = |name: &&str| given.iter().all(|(it, _)| it != name);
        self.classifiers.iter().map(Classifier::as_str).filter(is_missing).collect()
    }

    /// The few-shot examples of the classifier that needs some.
    pub fn examples(&self) -> Option<&'a Arc<Examples>> {
        self.classifiers.iter().find_map(Classifier::examples)
    }
}

/// The part of a policy's few-shot examples in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExamplesPayload {
    /// Only their digest: the sidecar has embedded them before, or reports that it has not.
    Digest,
    /// All of them.
    Full,
}

/// How a call to the classifier ended.
#[derive(Clone, Debug, PartialEq)]
pub enum CallResult {
    /// With predictions, each with its classifier's name. The sidecar may lack some of the requested ones.
    Classified(Vec<(String, Prediction)>),
    /// The sidecar does not know the examples of this digest, and needs all of them.
    UnknownExamples,
    /// Without a prediction: the sidecar is down, late, overloaded, or lacks the head.
    Unavailable,
    /// The call could not be made, for example because the sidecar's cluster is not configured.
    NotCalled,
}

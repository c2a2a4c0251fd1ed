//! The call to the classifier: what it is asked, and how that can end.

use std::sync::Arc;
use std::time::Duration;

use crate::classification::Prediction;
use crate::config::{Classifier, Examples, PolicyName};
use crate::request::{Prompt, RequestHead};

/// What the sidecar is asked. It borrows from the exchange, which waits for it.
#[derive(Debug)]
pub struct Query<'a> {
    /// The classifiers to ask; of those by few-shot examples there is one at most.
    pub classifiers: &'a [Classifier],
    /// The policy that the predictions are for; none if only rules read them.
    pub policy: Option<&'a PolicyName>,
    /// What of the few-shot examples goes with the call; without meaning for other classifiers.
    pub payload: ExamplesPayload,
    /// What to classify.
    pub prompt: &'a Prompt,
    /// The client's headers, for the trace that the call belongs to.
    pub head: &'a RequestHead,
    /// How long the call may take.
    pub timeout: Duration,
}

impl<'a> Query<'a> {
    /// The few-shot examples of the classifier that needs some.
    pub fn examples(&self) -> Option<&'a Arc<Examples>> {
        self.classifiers.iter().find_map(Classifier::examples)
    }
}

/// What of a policy's few-shot examples goes with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExamplesPayload {
    /// Their digest: the sidecar has embedded them before, or says that it has not.
    Digest,
    /// All of them.
    Full,
}

/// How a call to the classifier ended.
#[derive(Clone, Debug, PartialEq)]
pub enum CallResult {
    /// With predictions, each with its classifier's name. The sidecar may lack some of those that were asked.
    Classified(Vec<(String, Prediction)>),
    /// The sidecar does not know the examples of this digest, and needs all of them.
    UnknownExamples,
    /// Without one: the sidecar is down, late, overloaded, or lacks the head.
    Unavailable,
    /// The call could not be made: the sidecar's cluster is not configured, say.
    NotCalled,
}

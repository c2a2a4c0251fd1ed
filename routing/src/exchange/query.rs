//! The call to the classifier: what it is asked, and how that can end.

use std::time::Duration;

use crate::classification::Classification;
use crate::config::Policy;
use crate::request::{RequestHead, TextToClassify};

/// What the classifier is asked. It borrows from the exchange, which waits for it.
#[derive(Debug)]
pub struct Query<'a> {
    /// The policy whose classifier is asked.
    pub policy: &'a Policy,
    /// What of the few-shot examples goes with the call; without meaning for other classifiers.
    pub examples: ExamplesPayload,
    /// The text to classify.
    pub text: &'a TextToClassify,
    /// The client's headers, for the trace that the call belongs to.
    pub head: &'a RequestHead,
    /// How long the call may take.
    pub timeout: Duration,
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
    /// With a prediction.
    Classified(Classification),
    /// The sidecar does not know the examples of this digest, and needs all of them.
    UnknownExamples,
    /// Without one: the sidecar is down, late, overloaded, or lacks the head.
    Unavailable,
    /// The call could not be made: the sidecar's cluster is not configured, say.
    NotCalled,
}

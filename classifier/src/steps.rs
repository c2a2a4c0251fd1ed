//! The timed steps of one classification, for callers that record them, such as trace spans.

use std::time::Instant;

/// A step of a classification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Text to tokens.
    Tokenize,
    /// The wait for a worker.
    Queue,
    /// The forward pass.
    Infer,
}

impl Step {
    /// The name of its span.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tokenize => "tokenize",
            Self::Queue => "queue",
            Self::Infer => "infer",
        }
    }
}

/// Receives the finished steps of one classification. It is called from worker threads, so it must not block.
pub trait StepObserver: Send + Sync {
    /// A step began and ended at these times.
    fn finished(&self, step: Step, start: Instant, end: Instant);
}

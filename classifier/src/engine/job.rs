//! A text in the engine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::failure::EngineError;
use crate::metrics::Metrics;
use crate::model::prediction::{Outputs, Prediction};
use crate::steps::StepObserver;

/// The result for one text.
pub(super) type Scored = Result<Prediction, EngineError>;

/// A text that waits for a thread, and the receiver of its prediction.
pub(super) struct Job<T> {
    pub(super) text: T,
    pub(super) outputs: Outputs,
    /// Whether it is a background text, which waits until no prompt does.
    pub(super) background: bool,
    /// After this time, nobody waits for the prediction.
    pub(super) deadline: Option<Instant>,
    pub(super) reply: oneshot::Sender<Scored>,
    /// Records its steps.
    pub(super) steps: Option<Arc<dyn StepObserver>>,
    /// When it began to wait for the thread that takes it next.
    pub(super) queued: Instant,
    /// The time that it spent in earlier queues.
    pub(super) waited: Duration,
    /// None once a worker has taken it.
    pub(super) waiting: Option<Waiting>,
}

/// Counts a text that waits. Dropping it makes room for the next prompt.
pub(super) struct Waiting {
    metrics: Arc<Metrics>,
    /// A prompt's slot in the queue. Background texts need none.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Waiting {
    pub(super) fn new(permit: Option<OwnedSemaphorePermit>, metrics: Arc<Metrics>) -> Self {
        metrics.queue_depth.inc();
        Self { metrics, _permit: permit }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.metrics.queue_depth.dec();
    }
}

impl<T> Job<T> {
    /// A prompt that begins to wait now, without a deadline.
    pub(super) fn new(text: T, outputs: Outputs, reply: oneshot::Sender<Scored>, waiting: Waiting) -> Self {
        let (queued, waited, waiting) = (Instant::now(), Duration::ZERO, Some(waiting));
        Self { text, outputs, background: false, deadline: None, reply, steps: None, queued, waited, waiting }
    }

    /// The job, unless its caller gave up, its connection broke, or its deadline passed: nobody would read the prediction.
    pub(super) fn still_wanted(self, now: Instant) -> Option<Self> {
        if self.reply.is_closed() {
            return None;
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            let _ = self.reply.send(Err(EngineError::DeadlineExceeded));
            return None;
        }
        Some(self)
    }

    /// The job with its text converted, by a step that ran from `start` to `end`.
    pub(super) fn with_text<U>(self, text: U, start: Instant, end: Instant) -> Job<U> {
        let waited = self.waited + start.saturating_duration_since(self.queued);
        let Self { outputs, background, deadline, reply, steps, waiting, .. } = self;
        Job { text, outputs, background, deadline, reply, steps, queued: end, waited, waiting }
    }
}

//! The loop of a worker thread: next job, classify, answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::Context as _;
use tokio::sync::oneshot;

use super::backend::Backend;
use super::queue::Queue;
use super::{EngineError, Scored};
use crate::model::tokenizer::Tokens;
use crate::telemetry::metrics::Metrics;

/// A text that waits, and where its scores go.
pub(super) struct Job {
    pub(super) text: Tokens,
    pub(super) answer: oneshot::Sender<Scored>,
}

/// Works until the queue is closed and empty.
pub(super) fn run(backend: &impl Backend, queue: &Queue<Job>, metrics: &Metrics) {
    while let Some(job) = queue.pop() {
        metrics.queue_depth.dec();
        // The caller gave up, or its connection broke: the scores would go nowhere.
        if job.answer.is_closed() {
            continue;
        }
        let start = Instant::now();
        let scored = classify(backend, &job.text);
        metrics.inference_seconds.observe(start.elapsed().as_secs_f64());
        // An error here is a caller that left while we computed.
        let _ = job.answer.send(scored);
    }
}

/// A panic costs its own text only: a dead worker would leave the queue to fill up.
fn classify(backend: &impl Backend, text: &Tokens) -> Scored {
    match catch_unwind(AssertUnwindSafe(|| {
        backend.classify(&[text])?.pop().context("the backend has no answer")
    })) {
        Ok(result) => result.map_err(EngineError::Failed),
        Err(_) => Err(EngineError::Failed(anyhow::anyhow!("the backend panicked"))),
    }
}

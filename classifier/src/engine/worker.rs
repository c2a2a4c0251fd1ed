//! The loop of a worker thread: next batch, classify, answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use tokio::sync::oneshot;

use super::backend::Backend;
use super::batching::Batching;
use super::queue::Queue;
use super::{EngineError, Scored};
use crate::metrics::Metrics;
use crate::model::prediction::{Outputs, Prediction};
use crate::model::tokenizer::Tokens;
use crate::steps::{Step, StepObserver};

/// A text that waits, and where its answer goes.
pub(super) struct Job {
    pub(super) text: Tokens,
    pub(super) want: Outputs,
    /// After this nobody waits for the answer any more.
    pub(super) deadline: Option<Instant>,
    pub(super) answer: oneshot::Sender<Scored>,
    /// When it began to wait.
    pub(super) queued: Instant,
    /// Who records its steps.
    pub(super) steps: Option<Arc<dyn StepObserver>>,
}

/// Works until the queue is closed and empty.
pub(super) fn run(backend: &impl Backend, batching: Batching, queue: &Queue<Job>, metrics: &Metrics) {
    backend.prepare();
    while let Some(jobs) = queue.pop(|lane| batching.texts(lane)) {
        metrics.queue_depth.dec_by(jobs.len() as i64);
        let start = Instant::now();
        let jobs: Vec<_> = jobs.into_iter().filter_map(|job| still_wanted(job, start)).collect();
        if jobs.is_empty() {
            continue;
        }
        let answers = classify(backend, &jobs);
        observe(&jobs, start, Instant::now(), metrics);
        answer(jobs, answers);
    }
}

/// Tells metrics and traces of a batch that began and ended then.
fn observe(jobs: &[Job], start: Instant, end: Instant, metrics: &Metrics) {
    metrics.inference_seconds.observe((end - start).as_secs_f64());
    let lengths = jobs.iter().map(|job| job.text.ids().len());
    let longest = lengths.clone().max().unwrap_or(0);
    metrics.batch(jobs.len(), lengths.sum(), jobs.len() * longest);
    for job in jobs {
        metrics.queue_seconds.observe((start - job.queued).as_secs_f64());
        if let Some(steps) = &job.steps {
            steps.finished(Step::Queue, job.queued, start);
            steps.finished(Step::Infer, start, end);
        }
    }
}

/// The job, unless its caller gave up, its connection broke, or its deadline passed: the answer would go nowhere.
fn still_wanted(job: Job, now: Instant) -> Option<Job> {
    if job.answer.is_closed() {
        return None;
    }
    if job.deadline.is_some_and(|deadline| deadline <= now) {
        let _ = job.answer.send(Err(EngineError::DeadlineExceeded));
        return None;
    }
    Some(job)
}

/// A panic costs its own texts only: a dead worker would leave the queue to fill up.
fn classify(backend: &impl Backend, jobs: &[Job]) -> Result<Vec<Prediction>> {
    let texts: Vec<_> = jobs.iter().map(|job| &job.text).collect();
    let want = jobs.iter().map(|job| job.want).reduce(Outputs::and).unwrap_or(Outputs::Scores);
    let answers = catch_unwind(AssertUnwindSafe(|| backend.classify(&texts, want)))
        .unwrap_or_else(|_| Err(anyhow!("the backend panicked")))?;
    ensure!(answers.len() == jobs.len(), "{} answers for {} texts", answers.len(), jobs.len());
    Ok(answers)
}

/// An error of sending is a caller that left while we computed.
fn answer(jobs: Vec<Job>, answers: Result<Vec<Prediction>>) {
    match answers {
        Ok(answers) => {
            for (job, answer) in jobs.into_iter().zip(answers) {
                let _ = job.answer.send(Ok(answer.only(job.want)));
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for job in jobs {
                let _ = job.answer.send(Err(EngineError::Failed(error.clone())));
            }
        }
    }
}

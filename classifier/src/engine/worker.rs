//! The loop of a worker thread: take a batch, classify it, reply.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};

use super::backend::Backend;
use super::batching::Batching;
use super::failure::FailureLog;
use super::job::Job;
use super::queue::Queue;
use crate::metrics::Metrics;
use crate::model::prediction::{Outputs, Prediction};
use crate::model::tokenizer::Tokens;
use crate::steps::Step;

/// Works until the queue is closed and empty.
pub(super) fn run(
    backend: &impl Backend,
    batching: Batching,
    queue: &Queue<Job<Tokens>>,
    metrics: &Metrics,
    failures: &FailureLog,
) {
    while let Some(jobs) = queue.pop(|lane| batching.texts(lane)) {
        let start = Instant::now();
        let mut jobs: Vec<_> = jobs.into_iter().filter_map(|job| job.still_wanted(start)).collect();
        if jobs.is_empty() {
            continue;
        }
        // Taken jobs no longer wait, so their slots are free.
        jobs.iter_mut().for_each(|job| job.waiting = None);
        let predictions = classify(backend, &jobs);
        observe(&jobs, start, Instant::now(), metrics);
        reply(jobs, predictions, failures);
    }
}

/// Records the metrics and traces of a batch.
fn observe(jobs: &[Job<Tokens>], start: Instant, end: Instant, metrics: &Metrics) {
    metrics.inference_seconds.observe((end - start).as_secs_f64());
    let lengths = jobs.iter().map(|job| job.text.ids().len());
    let longest = lengths.clone().max().unwrap_or(0);
    metrics.batch(jobs.len(), lengths.sum(), jobs.len() * longest);
    for job in jobs {
        let waited = job.waited + (start - job.queued);
        metrics.queue_seconds.observe(waited.as_secs_f64());
        if let Some(steps) = &job.steps {
            steps.finished(Step::Queue, job.queued, start);
            steps.finished(Step::Infer, start, end);
        }
    }
}

/// A panic of the backend fails its own texts only, and the worker continues.
fn classify(backend: &impl Backend, jobs: &[Job<Tokens>]) -> Result<Vec<Prediction>> {
    let texts: Vec<_> = jobs.iter().map(|job| &job.text).collect();
    let outputs = jobs.iter().map(|job| job.outputs).reduce(Outputs::and).unwrap_or(Outputs::Scores);
    let predictions = catch_unwind(AssertUnwindSafe(|| backend.classify(&texts, outputs)))
        .unwrap_or_else(|_| Err(anyhow!("the backend panicked")))?;
    ensure!(predictions.len() == jobs.len(), "{} predictions for {} texts", predictions.len(), jobs.len());
    Ok(predictions)
}

/// Sends each text its prediction. Callers that left in the meantime are skipped.
fn reply(jobs: Vec<Job<Tokens>>, predictions: Result<Vec<Prediction>>, failures: &FailureLog) {
    match predictions {
        Ok(predictions) => {
            for (job, prediction) in jobs.into_iter().zip(predictions) {
                let _ = job.reply.send(Ok(prediction.only(job.outputs)));
            }
        }
        Err(cause) => {
            let error = failures.record(cause);
            for job in jobs {
                let _ = job.reply.send(Err(error.clone()));
            }
        }
    }
}

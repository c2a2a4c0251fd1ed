//! The loop of a tokenizer thread. Tokenizing a long prompt takes milliseconds, so it must not run on the threads that
//! serve connections.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::{Result, anyhow};

use super::batching::Batching;
use super::failure::FailureLog;
use super::job::Job;
use super::queue::{Closed, Queue};
use crate::metrics::Metrics;
use crate::model::tokenizer::{Excerpt, Tokenizer, Tokens};
use crate::steps::Step;

/// Turns excerpts into tokens.
pub(crate) trait Tokenize: Send + Sync + 'static {
    /// The tokens of a text.
    ///
    /// # Errors
    /// If the text cannot be tokenized.
    fn tokenize(&self, text: &Excerpt) -> Result<Tokens>;
}

impl Tokenize for Tokenizer {
    fn tokenize(&self, text: &Excerpt) -> Result<Tokens> {
        self.tokenize_excerpt(text)
    }
}

/// Tokenizes texts and passes them on, until the queue is closed and empty.
pub(super) fn run(
    tokenizer: &impl Tokenize,
    texts: &Queue<Job<Excerpt>>,
    tokenized: &Queue<Job<Tokens>>,
    metrics: &Metrics,
    failures: &FailureLog,
) {
    while let Some(jobs) = texts.pop(|_| 1) {
        for job in jobs {
            let start = Instant::now();
            let Some(job) = job.still_wanted(start) else { continue };
            let tokens = catch_unwind(AssertUnwindSafe(|| tokenizer.tokenize(&job.text)));
            let tokens = tokens.unwrap_or_else(|_| Err(anyhow!("the tokenizer panicked")));
            let end = Instant::now();
            metrics.tokenize_seconds.observe((end - start).as_secs_f64());
            if let Some(steps) = &job.steps {
                steps.finished(Step::Tokenize, start, end);
            }
            match tokens {
                Ok(tokens) => {
                    // A closed queue drops the job, and with it the caller's channel.
                    let _ = pass_on(job.with_text(tokens, start, end), tokenized);
                }
                Err(error) => {
                    let _ = job.reply.send(Err(failures.record(error)));
                }
            }
        }
    }
}

fn pass_on(job: Job<Tokens>, tokenized: &Queue<Job<Tokens>>) -> Result<(), Closed> {
    if job.background {
        return tokenized.push_background(job);
    }
    let lane = Batching::lane(job.text.ids().len());
    tokenized.push(job, lane)
}

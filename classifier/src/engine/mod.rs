//! Classifies texts on separate threads, behind a bounded queue: tokenizer threads, then worker threads.
//!
//! On CPU one text at a time on one thread is as fast as a batch, and several such workers are twice as fast as one
//! worker with several threads. So a worker takes one text, and there are as many workers as cores. On a GPU one worker
//! takes as many texts of similar length as fit.
//!
//! Prompts have priority over background texts, such as few-shot examples.

mod backend;
mod batching;
mod cuda_graphs;
mod failure;
mod job;
mod queue;
mod threads;
mod tokenizers;
mod worker;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Result;
use tokio::sync::{Semaphore, TryAcquireError, oneshot};

pub use backend::{Backend, BackendFactory};
pub use batching::Batching;
pub use cuda_graphs::CudaGraphs;
use failure::FailureLog;
pub use failure::{EngineError, FailureCause};
use job::{Job, Scored, Waiting};
use queue::Queue;
use threads::ThreadGroup;
pub(crate) use tokenizers::Tokenize;

use crate::metrics::Metrics;
use crate::model::prediction::Outputs;
use crate::model::tokenizer::{Excerpt, Tokens};
use crate::steps::StepObserver;

/// The limits of an engine.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// The maximum number of prompts in the queue. Further ones are rejected at once.
    pub queue: usize,
    /// The number of texts that share a forward pass.
    pub batching: Batching,
    /// Threads that tokenize.
    pub tokenizers: NonZeroUsize,
}

/// The threads and their queues. Dropping it lets them end.
pub(crate) struct Engine {
    tokenizers: ThreadGroup<Job<Excerpt>>,
    workers: ThreadGroup<Job<Tokens>>,
    /// The slots of the queue.
    room: Arc<Semaphore>,
    shutting_down: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Engine {
    /// Starts one worker thread for each backend, and the tokenizer threads.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub(crate) fn start<F: BackendFactory>(
        tokenizer: &Arc<impl Tokenize>,
        backends: Vec<F>,
        options: EngineOptions,
        metrics: Arc<Metrics>,
    ) -> Result<Self> {
        let failures = Arc::new(FailureLog::default());
        let worker = |backend: F| {
            let (metrics, failures) = (Arc::clone(&metrics), Arc::clone(&failures));
            move |queue: &Queue<Job<Tokens>>| {
                worker::run(&backend.build(), options.batching, queue, &metrics, &failures);
            }
        };
        let threads = backends.into_iter().map(worker).collect();
        let workers = ThreadGroup::start("worker", Queue::new(Batching::LANES), threads)?;
        let tokenizer = |_| {
            let (tokenizer, tokenized) = (Arc::clone(tokenizer), Arc::clone(&workers.queue));
            let (metrics, failures) = (Arc::clone(&metrics), Arc::clone(&failures));
            move |queue: &Queue<Job<Excerpt>>| {
                tokenizers::run(&*tokenizer, queue, &tokenized, &metrics, &failures);
            }
        };
        let threads = (0..options.tokenizers.get()).map(tokenizer).collect();
        let tokenizers = ThreadGroup::start("tokenizer", Queue::new(1), threads)?;
        let room = Arc::new(Semaphore::new(options.queue));
        Ok(Self { tokenizers, workers, room, shutting_down: AtomicBool::new(false), metrics })
    }

    /// The requested outputs of one text. Dropping the future withdraws the text if no thread has taken it
    /// yet. No thread takes it after the deadline.
    ///
    /// # Errors
    /// At once if too many prompts wait or the engine is shut down; later if tokenizer or backend fails, or the deadline
    /// passes.
    pub(crate) async fn classify(
        &self,
        text: Excerpt,
        outputs: Outputs,
        deadline: Option<Instant>,
        steps: Option<Arc<dyn StepObserver>>,
    ) -> Scored {
        let permit = Arc::clone(&self.room).try_acquire_owned().map_err(|error| match error {
            TryAcquireError::NoPermits => EngineError::Overloaded,
            TryAcquireError::Closed => EngineError::ShuttingDown,
        })?;
        let waiting = Waiting::new(Some(permit), Arc::clone(&self.metrics));
        let (reply, prediction) = oneshot::channel();
        let job = Job { deadline, steps, ..Job::new(text, outputs, reply, waiting) };
        self.submit(job, prediction).await
    }

    /// The requested outputs of one text, computed while no prompt waits, and occasionally under load. It
    /// does not occupy a slot of the queue, so callers must bound how many such texts they submit.
    ///
    /// # Errors
    /// If the engine is shut down, or tokenizer or backend fails.
    pub(crate) async fn classify_in_background(&self, text: Excerpt, outputs: Outputs) -> Scored {
        let waiting = Waiting::new(None, Arc::clone(&self.metrics));
        let (reply, prediction) = oneshot::channel();
        let job = Job { background: true, ..Job::new(text, outputs, reply, waiting) };
        self.submit(job, prediction).await
    }

    async fn submit(&self, job: Job<Excerpt>, prediction: oneshot::Receiver<Scored>) -> Scored {
        let queue = &self.tokenizers.queue;
        let pushed = if job.background { queue.push_background(job) } else { queue.push(job, 0) };
        pushed.map_err(|_| self.stopped())?;
        prediction.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    /// Why the queues accept no texts.
    fn stopped(&self) -> EngineError {
        if self.shutting_down.load(Ordering::Acquire) {
            EngineError::ShuttingDown
        } else {
            EngineError::NoWorkers
        }
    }

    /// The number of worker threads that have not died.
    pub(crate) fn workers_alive(&self) -> usize {
        self.workers.alive()
    }

    /// Whether there are threads that can classify a text.
    pub(crate) fn is_healthy(&self) -> bool {
        self.workers.alive() > 0 && self.tokenizers.alive() > 0
    }

    /// Accepts no more texts, and waits until those in the queue have their predictions. Blocks.
    pub(crate) fn shut_down(&self) {
        self.shutting_down.store(true, Ordering::Release);
        self.room.close();
        self.tokenizers.finish();
        self.workers.finish();
    }
}

#[cfg(test)]
mod tests;

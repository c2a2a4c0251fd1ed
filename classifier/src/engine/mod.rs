//! Runs a backend on worker threads behind a bounded queue.
//!
//! On CPU one text at a time on one thread is as fast as a batch, and several such workers are twice as fast as one
//! worker with several threads; so a worker takes one text, and there are as many workers as cores. On a GPU one worker
//! takes as many texts of about one length as fit.

mod backend;
mod batching;
mod cuda_graphs;
mod queue;
mod worker;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use tokio::sync::oneshot;

pub use backend::Backend;
pub use batching::Batching;
pub use cuda_graphs::Recorded;
use queue::{PushError, Queue};
use worker::Job;

use crate::metrics::Metrics;
use crate::model::prediction::{Outputs, Prediction};
use crate::model::tokenizer::Tokens;
use crate::steps::StepObserver;

/// What a text gets.
type Scored = Result<Prediction, EngineError>;

/// Why a text has no answer.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The queue is full.
    #[error("too many prompts are waiting to be classified")]
    Overloaded,
    /// The engine is shut down, or being so.
    #[error("the classifier is shutting down")]
    ShuttingDown,
    /// The caller's deadline passed while the text waited.
    #[error("the deadline passed before the prompt could be classified")]
    DeadlineExceeded,
    /// The backend failed, for all texts of a batch alike.
    #[error("classification failed: {0:#}")]
    Failed(Arc<anyhow::Error>),
}

/// The queue and its workers. Dropping it lets the workers end.
pub struct Engine {
    queue: Arc<Queue<Job>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    metrics: Arc<Metrics>,
}

impl Engine {
    /// Starts one worker thread for each backend. `capacity` texts can wait; `batching` says how many a worker takes.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start<B: Backend>(
        backends: Vec<B>,
        capacity: usize,
        batching: Batching,
        metrics: Arc<Metrics>,
    ) -> Result<Self> {
        let queue = Arc::new(Queue::new(capacity, Batching::LANES));
        let engine = Self { queue, workers: Mutex::default(), metrics };
        for (number, backend) in backends.into_iter().enumerate() {
            let (queue, metrics) = (engine.queue.clone(), engine.metrics.clone());
            let worker = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || worker::run(&backend, batching, &queue, &metrics))
                .context("cannot start a worker thread")?;
            engine.workers.lock().push(worker);
        }
        Ok(engine)
    }

    /// What is wanted of one text. Dropping the future withdraws the text if no worker has taken it yet, and after the
    /// deadline none takes it.
    ///
    /// # Errors
    /// At once if the queue is full or the engine is shut down; later if the backend fails or the deadline passes.
    pub async fn classify(
        &self,
        text: Tokens,
        want: Outputs,
        deadline: Option<Instant>,
        steps: Option<Arc<dyn StepObserver>>,
    ) -> Scored {
        let (answer, scored) = oneshot::channel();
        // Before the push, because a worker counts down as soon as it takes the job.
        self.metrics.queue_depth.inc();
        let lane = Batching::lane(text.ids().len());
        let job = Job { text, want, deadline, answer, queued: Instant::now(), steps };
        self.queue.push(job, lane).map_err(|error| {
            self.metrics.queue_depth.dec();
            match error {
                PushError::Full => EngineError::Overloaded,
                PushError::Closed => EngineError::ShuttingDown,
            }
        })?;
        scored.await.unwrap_or(Err(EngineError::ShuttingDown))
    }

    /// Takes no more texts, and waits until those in the queue have their answers. Blocks.
    pub fn shut_down(&self) {
        self.queue.close();
        for worker in self.workers.lock().drain(..) {
            // A worker catches its backend's panics; there is nothing to add to what it logged.
            let _ = worker.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests;

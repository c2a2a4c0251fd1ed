//! Makes load on a target, and waits for all that came of it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::prompts::Prompts;
use super::schedule::arrivals;
use super::statistics::{Sample, Statistics, Window};
use super::target::Target;

/// How long a caller rests whose call failed. Clients do so, and one that came back at once would take the processor
/// from those that are being answered.
const REST: Duration = Duration::from_millis(1);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// So many callers; each asks again when it has its answer. A slow target is asked less.
    Callers(NonZeroUsize),
    /// So many calls a second, whether or not those before have their answers. The time of a call counts from when it
    /// was due, so that a target that stalls pays for all who would have called meanwhile.
    Rate(f64),
}

/// How long.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Loads the target, and is not measured.
    pub warmup: Duration,
    /// Is measured.
    pub measured: Duration,
    /// How long a call may take.
    pub patience: Duration,
}

/// What every call needs.
#[derive(Clone)]
struct Caller {
    target: Target,
    prompts: Arc<Prompts>,
    patience: Duration,
    samples: UnboundedSender<Sample>,
}

/// Makes the load, and says what came of it.
///
/// # Errors
/// If the thread that calls on schedule fails.
pub async fn run(target: &Target, prompts: &Arc<Prompts>, load: Load, timing: Timing) -> Result<Statistics> {
    let (samples, mut calls) = unbounded_channel();
    let Timing { warmup, measured, patience } = timing;
    let caller = Caller { target: target.clone(), prompts: prompts.clone(), patience, samples };
    let begin = Instant::now();
    let window = Window { start: begin + warmup, end: begin + warmup + measured };
    match load {
        Load::Callers(callers) => {
            for _ in 0..callers.get() {
                tokio::spawn(caller.clone().call_until(window.end));
            }
            drop(caller);
        }
        Load::Rate(rate) => {
            tokio::task::spawn_blocking(move || call_on_schedule(&caller, rate, begin, window.end)).await?;
        }
    }
    // The channel ends when the last call has.
    let mut all = Vec::new();
    while let Some(sample) = calls.recv().await {
        all.push(sample);
    }
    Ok(Statistics::of(&all, window))
}

/// On a thread of its own: tokio's timer has ticks of a millisecond, which is as long as some calls.
fn call_on_schedule(caller: &Caller, rate: f64, begin: Instant, end: Instant) {
    let runtime = tokio::runtime::Handle::current();
    for due in arrivals(rate).map(|after| begin + after).take_while(|due| *due < end) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let caller = caller.clone();
        runtime.spawn(async move { caller.call(due).await });
    }
}

impl Caller {
    async fn call_until(self, end: Instant) {
        loop {
            let due = Instant::now();
            if due >= end {
                break;
            }
            if !self.call(due).await {
                tokio::time::sleep(REST).await;
            }
        }
    }

    /// Whether there was an answer.
    async fn call(&self, due: Instant) -> bool {
        let outcome = self.target.ask(&self.prompts.next(), self.patience).await;
        // The receiver stays until the last sender is gone.
        let _ = self.samples.send(Sample { due, done: Instant::now(), outcome });
        outcome.is_ok()
    }
}

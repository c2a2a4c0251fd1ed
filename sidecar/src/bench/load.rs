//! Generates load on a target and collects the outcome of every call.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::prompts::Prompts;
use super::schedule::arrivals;
use super::statistics::{Sample, Statistics, Window};
use super::target::Target;

/// How long a caller waits after a failed call. Clients do so, and an immediate retry would take processor time from the
/// calls that are being served.
const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// How calls arrive.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// This number of callers. Each calls again once it has its prediction. A slow target gets fewer calls.
    Callers(NonZeroUsize),
    /// This many calls per second, whether or not earlier ones are finished. The latency of a call counts from when it was
    /// due, so that a stalled target is charged for all calls that would have arrived in the meantime.
    Rate(f64),
}

/// How long a load lasts.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Time under load before the measurement.
    pub warmup: Duration,
    /// Time that is measured.
    pub measured: Duration,
    /// Time limit of a call.
    pub timeout: Duration,
}

/// What each call needs.
#[derive(Clone)]
struct Caller {
    target: Target,
    prompts: Arc<Prompts>,
    timeout: Duration,
    samples: UnboundedSender<Sample>,
}

/// Generates the load and returns its statistics.
///
/// # Errors
/// If the times are too long to compute with, or the thread that calls on schedule fails.
pub async fn run(target: &Target, prompts: &Arc<Prompts>, load: Load, timing: Timing) -> Result<Statistics> {
    let (samples, mut calls) = unbounded_channel();
    let Timing { warmup, measured, timeout } = timing;
    let caller = Caller { target: target.clone(), prompts: prompts.clone(), timeout, samples };
    let begin = Instant::now();
    let window = window(begin, warmup, measured).context("warm-up and duration are too long")?;
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
    // The channel closes when the last call ends.
    let mut all = Vec::new();
    while let Some(sample) = calls.recv().await {
        all.push(sample);
    }
    Ok(Statistics::compute(&all, window))
}

/// The period that is measured; none if the times are too long to compute with.
pub(super) fn window(begin: Instant, warmup: Duration, measured: Duration) -> Option<Window> {
    let start = begin.checked_add(warmup)?;
    Some(Window { start, end: start.checked_add(measured)? })
}

/// Needs a thread of its own: tokio's timer has a resolution of a millisecond, which is as long as some calls.
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
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    /// Returns whether there was a prediction.
    async fn call(&self, due: Instant) -> bool {
        let outcome = self.target.classify(&self.prompts.next(), self.timeout).await;
        // The receiver outlives all senders.
        let _ = self.samples.send(Sample { due, done: Instant::now(), outcome });
        outcome.is_ok()
    }
}

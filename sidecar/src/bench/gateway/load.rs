//! Sends the requests of a [`Setup`], by callers that wait or on a schedule.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::exchange::{Exchange, exchange};
use super::failure::{Failure, Problem};
use super::recording::{Event, Recorder, Recording};
use super::sample::{Labels, Sample, Side};
use super::setup::{Pair, Setup, Target};
use crate::bench::load::{Load, Timing, window};
use crate::bench::schedule::arrivals;
use crate::bench::statistics::Window;

/// How long a caller waits after a failed request, so that a gateway that rejects at once is not flooded.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Ends a load early.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<OnceLock<Instant>>);

impl Stop {
    /// Ends the load now. Requests without a response are still awaited.
    pub fn stop(&self) {
        self.0.get_or_init(Instant::now);
    }

    /// When the load was ended.
    #[must_use]
    pub fn at(&self) -> Option<Instant> {
        self.0.get().copied()
    }
}

/// What each request needs.
#[derive(Clone)]
struct Sender {
    setup: Arc<Setup>,
    events: UnboundedSender<Event>,
    /// The number of the next pair.
    next: Arc<AtomicU64>,
    end: Instant,
    stop: Stop,
}

/// Generates the load. Returns the recording and the measured period.
///
/// # Errors
/// If the times are too long to compute with, the thread that sends on schedule fails, or the series cannot be written.
pub async fn run(
    setup: &Arc<Setup>,
    load: Load,
    timing: Timing,
    stop: &Stop,
    recorder: Recorder,
) -> Result<(Recording, Window)> {
    let (events, received) = unbounded_channel();
    let begin = Instant::now();
    let Timing { warmup, measured, .. } = timing;
    let window = window(begin, warmup, measured).context("warm-up and duration are too long")?;
    let (setup, stop_at, next) = (Arc::clone(setup), stop.clone(), Arc::default());
    let sender = Sender { setup, events, next, end: window.end, stop: stop_at };
    let schedule = match load {
        Load::Callers(callers) => {
            for _ in 0..callers.get() {
                tokio::spawn(sender.clone().send_until_end());
            }
            drop(sender);
            None
        }
        Load::Rate(rate) => Some(tokio::task::spawn_blocking(move || sender.send_on_schedule(rate, begin))),
    };
    // The events end when the last request has ended.
    let recording = recorder.record(received, stop).await?;
    if let Some(schedule) = schedule {
        schedule.await?;
    }
    Ok((recording, window.ended_by(stop.at())))
}

impl Sender {
    fn next_pair(&self) -> Pair {
        self.setup.pair(self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn is_over(&self, due: Instant) -> bool {
        due >= self.end || self.stop.at().is_some()
    }

    /// Sends one request after the other.
    async fn send_until_end(self) {
        loop {
            let pair = self.next_pair();
            for target in &pair.order {
                let due = Instant::now();
                if self.is_over(due) {
                    return;
                }
                if !self.send(&pair, target, due).await {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Sends `rate` requests per second to each target, whether or not earlier ones are finished. Needs a
    /// thread of its own: tokio's timer has a resolution of a millisecond.
    fn send_on_schedule(self, rate: f64, begin: Instant) {
        let runtime = Handle::current();
        let in_flight = InFlight::new(self.setup.in_flight);
        let mut times = arrivals(rate * self.setup.targets() as f64).map(|after| begin + after);
        loop {
            let pair = Arc::new(self.next_pair());
            for target in &pair.order {
                let Some(due) = times.next() else { return };
                std::thread::sleep(due.min(self.end).saturating_duration_since(Instant::now()));
                if self.is_over(due) {
                    return;
                }
                match Arc::clone(in_flight.of(target.side)).try_acquire_owned() {
                    Ok(permit) => {
                        let (sender, pair, target) = (self.clone(), Arc::clone(&pair), Arc::clone(target));
                        runtime.spawn(async move {
                            sender.send(&pair, &target, due).await;
                            drop(permit);
                        });
                    }
                    Err(_) => self.drop_request(&pair, target, due),
                }
            }
        }
    }

    /// Returns whether there was a completion.
    async fn send(&self, pair: &Pair, target: &Target, due: Instant) -> bool {
        let body = pair.chat.body(target.model.as_deref(), pair.is_streamed);
        let exchanged = exchange(&target.endpoint, body, pair.is_streamed, self.setup.deadline).await;
        let is_completed = exchanged.outcome.is_ok();
        self.record(pair, target, due, exchanged);
        is_completed
    }

    fn drop_request(&self, pair: &Pair, target: &Target, due: Instant) {
        let detail = format!("{} requests had no response yet", self.setup.in_flight);
        let outcome = Err(Problem::new(Failure::Dropped, detail));
        self.record(pair, target, due, Exchange { labels: Labels::default(), outcome });
    }

    fn record(&self, pair: &Pair, target: &Target, due: Instant, exchanged: Exchange) {
        let Exchange { labels, outcome } = exchanged;
        let (outcome, detail) = match outcome {
            Ok(completed) => (Ok(completed), None),
            Err(Problem { failure, detail }) => (Err(failure), Some(detail)),
        };
        let Pair { number, is_streamed, .. } = *pair;
        let sample = Sample { pair: number, side: target.side, is_streamed, due, labels, outcome };
        // The receiver outlives all senders.
        let _ = self.events.send(Event { sample, detail });
    }
}

/// How many more requests may be sent to each target. A target that hangs does not keep the other from being measured.
struct InFlight {
    gateway: Arc<Semaphore>,
    direct: Arc<Semaphore>,
}

impl InFlight {
    fn new(limit: usize) -> Self {
        let semaphore = || Arc::new(Semaphore::new(limit));
        Self { gateway: semaphore(), direct: semaphore() }
    }

    fn of(&self, side: Side) -> &Arc<Semaphore> {
        match side {
            Side::Gateway => &self.gateway,
            Side::Direct => &self.direct,
        }
    }
}

//! Gets completions, each paid for once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;

use super::budget::Budget;
use super::chat::Completion;
use super::failure::{Failure, FailureKind};
use super::http::HttpClient;
use super::journal::{Journal, Outcome};
use super::model::ChatModel;
use super::retry::Backoff;
use crate::grade::key::Key;
use crate::grade::money::Money;
use crate::grade::stop::{Stop, StopReason};

/// The longest time that a provider may ask to wait. For more, the run ends, to be continued later.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// After this number of requests in a row that failed with all their attempts, the provider counts as down.
const MAX_FAILED: u32 = 3;

/// A completion, and what it cost.
#[derive(Debug, Clone)]
pub(crate) struct Paid {
    /// The completion.
    pub(crate) completion: Completion,
    /// Its cost; zero without prices.
    pub(crate) cost: Money,
}

/// Why there is no completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallError {
    /// This prompt has none; the run continues.
    Prompt(String),
    /// The run ends.
    Stopped,
}

/// Sends requests within the budget, and repeats those that may succeed later.
#[derive(Debug)]
pub(crate) struct Requester {
    http: HttpClient,
    /// Results that were paid for.
    pub(crate) journal: Journal,
    /// What may be spent.
    pub(crate) budget: Budget,
    /// Whether the run ends.
    pub(crate) stop: Stop,
    permits: Semaphore,
    backoff: Backoff,
    retries: AtomicU64,
}

/// A failed attempt.
enum AttemptError {
    Failed(Failure),
    Stopped,
}

impl Requester {
    /// A requester that sends at most this number of requests concurrently.
    pub(crate) fn new(
        http: HttpClient,
        journal: Journal,
        budget: Budget,
        concurrency: usize,
        backoff: Backoff,
    ) -> Self {
        let (permits, retries) = (Semaphore::new(concurrency), AtomicU64::new(0));
        Self { http, journal, budget, stop: Stop::new(), permits, backoff, retries }
    }

    /// How many requests were repeated.
    pub(crate) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// The completion with this key: from the journal, or else by requests.
    ///
    /// # Errors
    /// If the prompt is rejected or keeps failing, or the run ends.
    pub(crate) async fn complete(
        &self,
        model: &ChatModel,
        key: Key,
        messages: &[Value],
    ) -> Result<Paid, CallError> {
        match self.journal.outcome(&key) {
            Some(Outcome::Completion(completion, cost)) => {
                // An earlier run may have had no prices, or different ones.
                let cost = model.cost_of(&completion).unwrap_or(cost);
                return Ok(Paid { completion, cost });
            }
            Some(Outcome::Rejection(reason)) => return Err(CallError::Prompt(reason)),
            None => {}
        }
        let mut delays = self.backoff.delays();
        loop {
            let failure = match self.attempt(model, &key, messages).await {
                Ok(paid) => return Ok(paid),
                Err(AttemptError::Stopped) => return Err(CallError::Stopped),
                Err(AttemptError::Failed(failure)) => failure,
            };
            let wait = match failure.kind {
                FailureKind::Transient { wait } => wait,
                FailureKind::Prompt => return Err(CallError::Prompt(failure.why)),
                FailureKind::Request | FailureKind::OtherModel if model.has_succeeded() => {
                    return Err(CallError::Prompt(failure.why));
                }
                FailureKind::CutOff => return Err(CallError::Stopped),
                FailureKind::Request => {
                    let advice = "--body changes or removes members of the request";
                    return Err(self.fail(format!("model {:?}: {}; {advice}", model.name, failure.why)));
                }
                FailureKind::OtherModel | FailureKind::Run => {
                    return Err(self.fail(format!("model {:?}: {}", model.name, failure.why)));
                }
            };
            if let Some(wait) = wait.filter(|&wait| wait > MAX_WAIT) {
                let why =
                    format!("{} asks to wait for {} s: {}", model.provider.url, wait.as_secs(), failure.why);
                return Err(self.fail(why));
            }
            model.provider.pace.pause(wait.unwrap_or_default());
            let Some(delay) = delays.next() else { return Err(self.give_up(model, &failure)) };
            tracing::debug!(model = model.name, why = failure.why, "repeating a request");
            self.retries.fetch_add(1, Ordering::Relaxed);
            self.stop.or(tokio::time::sleep(delay)).await.ok_or(CallError::Stopped)?;
        }
    }

    async fn attempt(&self, model: &ChatModel, key: &Key, messages: &[Value]) -> Result<Paid, AttemptError> {
        let stopped = || AttemptError::Stopped;
        let permit = self.stop.or(self.permits.acquire()).await.and_then(Result::ok).ok_or_else(stopped)?;
        self.stop.or(model.provider.pace.turn()).await.ok_or_else(stopped)?;
        let reservation =
            self.stop.or(self.budget.reserve(model.worst_cost(messages))).await.ok_or_else(stopped)?;
        let reservation = reservation.map_err(|exhausted| {
            self.stop.request(StopReason::Budget(exhausted.to_string()));
            AttemptError::Stopped
        })?;
        let sent = self.recorded(self.journal.record_sent(model.price.map(|_| reservation.worst())))?;
        let result = self.stop.in_flight(self.http.send(model, model.body(messages))).await;
        drop(permit);
        let cut_off = || Err(Failure::new(FailureKind::CutOff, "cut off by Ctrl-C").that_may_cost());
        match result.unwrap_or_else(cut_off) {
            Ok(completion) => {
                model.record_success();
                let cost = model.cost_of(&completion).unwrap_or(reservation.worst());
                if cost > reservation.worst() {
                    tracing::warn!(model = model.name, %cost, "a request cost more than its maximum of tokens allows");
                }
                reservation.settle(cost);
                let outcome = Outcome::Completion(completion.clone(), cost);
                self.recorded(self.journal.record_outcome(sent, key.clone(), cost, outcome))?;
                Ok(Paid { completion, cost })
            }
            Err(failure) => {
                let cost = if failure.may_cost { reservation.worst() } else { Money::ZERO };
                reservation.settle(cost);
                self.recorded(match failure.kind {
                    FailureKind::Prompt => {
                        let outcome = Outcome::Rejection(failure.why.clone());
                        self.journal.record_outcome(sent, key.clone(), cost, outcome)
                    }
                    _ => self.journal.record_failure(sent, cost, failure.why.clone()),
                })?;
                Err(AttemptError::Failed(failure))
            }
        }
    }

    /// Ends the run if the journal cannot be written: what is not recorded would be paid for again.
    fn recorded<T>(&self, result: anyhow::Result<T>) -> Result<T, AttemptError> {
        result.map_err(|error| {
            self.stop.request(StopReason::Failed(format!("{error:#}")));
            AttemptError::Stopped
        })
    }

    /// After the last attempt.
    fn give_up(&self, model: &ChatModel, failure: &Failure) -> CallError {
        let why = format!("failed {} times, the last time: {}", self.backoff.attempts, failure.why);
        if model.provider.record_failure() >= MAX_FAILED {
            return self.fail(format!("{MAX_FAILED} requests in a row to {} have {why}", model.provider.url));
        }
        CallError::Prompt(why)
    }

    fn fail(&self, why: String) -> CallError {
        self.stop.request(StopReason::Failed(why));
        CallError::Stopped
    }
}

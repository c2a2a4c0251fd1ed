//! Ends a run early: Ctrl-C, a used-up budget, or an error that every further request would meet.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How long a request that is in flight may still take after Ctrl-C.
const GRACE: Duration = Duration::from_secs(5);

/// Why a run ends early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Ctrl-C, or SIGTERM.
    Interrupted,
    /// The budget does not suffice for the next request.
    Budget(String),
    /// No further request can succeed.
    Failed(String),
}

#[derive(Debug, Default)]
struct State {
    /// The first reason.
    reason: Option<StopReason>,
    interrupted: bool,
}

/// Whether the run ends early.
#[derive(Debug)]
pub(crate) struct Stop(watch::Sender<State>);

impl Stop {
    /// A run without a reason to end.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    /// Ends the run. Later reasons are ignored.
    pub(crate) fn request(&self, reason: StopReason) {
        self.0.send_modify(|state| {
            state.interrupted |= reason == StopReason::Interrupted;
            state.reason.get_or_insert(reason);
        });
    }

    /// Why the run ends early, if it does.
    pub(crate) fn reason(&self) -> Option<StopReason> {
        self.0.borrow().reason.clone()
    }

    /// Waits for something that is pointless once the run ends; returns None in that case.
    pub(crate) async fn or<F: Future>(&self, wanted: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.state(|state| state.reason.is_some()) => None,
            output = wanted => Some(output),
        }
    }

    /// Waits for something that is paid for or nearly done. After Ctrl-C it has [`GRACE`] left; None if it takes longer.
    pub(crate) async fn in_flight<F: Future>(&self, wanted: F) -> Option<F::Output> {
        let cut_off = async {
            self.state(|state| state.interrupted).await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            biased;
            output = wanted => Some(output),
            () = cut_off => None,
        }
    }

    async fn state(&self, wanted: impl FnMut(&State) -> bool) {
        // An error would mean that the sender is gone, but `self` holds it.
        let _ = self.0.subscribe().wait_for(wanted).await;
    }
}

/// The signals that end a run.
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Watches for the signals from now on.
    ///
    /// # Errors
    /// If the system does not allow it.
    pub(crate) fn watch() -> Result<Self> {
        let watch = |kind| signal(kind).context("cannot watch for Ctrl-C");
        Ok(Self { interrupt: watch(SignalKind::interrupt())?, terminate: watch(SignalKind::terminate())? })
    }

    /// Returns at the next signal.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_stop_ends_waiting_but_not_requests_in_flight() {
        let stop = Stop::new();
        assert_eq!(stop.or(ready(1)).await, Some(1));
        stop.request(StopReason::Budget("no money".to_owned()));
        assert_eq!(stop.or(pending::<()>()).await, None);
        assert_eq!(stop.in_flight(ready(2)).await, Some(2));
    }

    #[tokio::test]
    async fn the_first_reason_counts() {
        let stop = Stop::new();
        stop.request(StopReason::Failed("wrong key".to_owned()));
        stop.request(StopReason::Interrupted);
        assert_eq!(stop.reason(), Some(StopReason::Failed("wrong key".to_owned())));
    }
}

//! Detects that request bodies do not reach the filter. Envoy sends them only if the filter may hold the
//! headers meanwhile.

use std::cell::Cell;
use std::time::Duration;

/// Clients send a prompt's body right after the headers.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a worker ever received a body.
#[derive(Default)]
pub(crate) struct BodyWatchdog(Cell<State>);

#[derive(Clone, Copy, Default)]
enum State {
    /// No request has been held yet.
    #[default]
    Unknown,
    /// The first request has been held since this time.
    Awaited(Duration),
    /// A body arrived, or the warning was logged.
    Settled,
}

impl BodyWatchdog {
    /// A request is held for its body.
    pub(crate) fn awaited(&self, now: impl FnOnce() -> Duration) {
        if let State::Unknown = self.0.get() {
            self.0.set(State::Awaited(now()));
        }
    }

    /// A body arrived.
    pub(crate) fn came(&self) {
        self.0.set(State::Settled);
    }

    /// Whether to log the warning now; true only once.
    pub(crate) fn is_missing(&self, now: impl FnOnce() -> Duration) -> bool {
        let State::Awaited(since) = self.0.get() else { return false };
        let missing = now().saturating_sub(since) >= TIMEOUT;
        if missing {
            self.0.set(State::Settled);
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> impl FnOnce() -> Duration {
        move || Duration::from_secs(seconds)
    }

    #[test]
    fn a_body_that_does_not_arrive_is_reported_once() {
        let body = BodyWatchdog::default();
        assert!(!body.is_missing(at(100)), "nobody waits");
        body.awaited(at(100));
        body.awaited(at(104));
        assert!(!body.is_missing(at(104)));
        assert!(body.is_missing(at(105)));
        assert!(!body.is_missing(at(106)));
    }

    #[test]
    fn after_one_body_none_is_reported() {
        let body = BodyWatchdog::default();
        body.awaited(at(100));
        body.came();
        body.awaited(at(101));
        assert!(!body.is_missing(at(200)));
    }
}

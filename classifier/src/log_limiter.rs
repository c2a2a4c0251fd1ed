//! Rate-limited logging: at most one event per interval, with the number of those that were suppressed.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The minimum interval between log lines of one kind.
const INTERVAL: Duration = Duration::from_secs(10);

/// Decides which events of one kind are logged.
#[derive(Debug)]
pub(crate) struct LogLimiter {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl Default for LogLimiter {
    fn default() -> Self {
        Self { interval: INTERVAL, state: Mutex::default() }
    }
}

impl LogLimiter {
    /// The number of events suppressed since the last one that was logged, if this one should be logged.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < self.interval) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_one_event_per_interval_is_logged_with_the_number_suppressed() {
        let (limiter, start) = (LogLimiter::default(), Instant::now());
        let after = |seconds| limiter.admit(start + Duration::from_secs(seconds));
        assert_eq!(
            [after(0), after(1), after(9), after(10), after(11), after(30)],
            [Some(0), None, None, Some(2), None, Some(1)]
        );
    }
}

//! Rate-limited warnings: logs at most once per interval and reports how many were suppressed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The minimum time between two warnings.
const INTERVAL: Duration = Duration::from_secs(10);

/// Limits the warnings of everything that shares one log.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Duration>,
    suppressed: u64,
}

impl Warnings {
    /// The message with the number of warnings suppressed before it, if it may be logged now. Otherwise counts it as suppressed.
    pub fn limit(&self, now: Duration, message: impl FnOnce() -> String) -> Option<String> {
        match self.suppressed(now)? {
            0 => Some(message()),
            suppressed => Some(format!("{} ({suppressed} warnings before it were not logged)", message())),
        }
    }

    /// The number of warnings suppressed since the last one, if one may be logged now.
    fn suppressed(&self, now: Duration) -> Option<u64> {
        // A panic in another thread cannot leave the numbers inconsistent.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_sub(last) < INTERVAL) {
            state.suppressed = state.suppressed.saturating_add(1);
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
    fn a_burst_is_one_line_per_interval() {
        let warnings = Warnings::default();
        let at = |seconds| warnings.limit(Duration::from_secs(seconds), || "down".to_owned());
        assert_eq!([at(100), at(100), at(105), at(109)], [Some("down".to_owned()), None, None, None]);
        let counted = "down (3 warnings before it were not logged)".to_owned();
        assert_eq!([at(110), at(111)], [Some(counted), None]);
    }
}

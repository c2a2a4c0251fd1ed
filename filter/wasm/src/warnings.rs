//! Rate-limited warnings: logs at most once per interval and reports how many were suppressed.

use std::cell::Cell;
use std::fmt::Display;
use std::time::Duration;

use log::warn;

/// The least time between two warnings of a worker.
const INTERVAL: Duration = Duration::from_secs(10);

/// A worker's warnings.
#[derive(Default)]
pub(crate) struct Warnings {
    last: Cell<Option<Duration>>,
    suppressed: Cell<u64>,
}

impl Warnings {
    /// Logs the message, or counts it if another one was logged just before.
    pub(crate) fn warn(&self, now: Duration, message: impl Display) {
        match self.should_log(now) {
            Some(0) => warn!("{message}"),
            Some(suppressed) => warn!("{message} ({suppressed} warnings before it were not logged)"),
            None => {}
        }
    }

    /// How many were suppressed since the last one, if one may be logged now.
    fn should_log(&self, now: Duration) -> Option<u64> {
        if self.last.get().is_some_and(|last| now.saturating_sub(last) < INTERVAL) {
            self.suppressed.set(self.suppressed.get().saturating_add(1));
            return None;
        }
        self.last.set(Some(now));
        Some(self.suppressed.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_one_line_now_and_then() {
        let warnings = Warnings::default();
        let at = |seconds| warnings.should_log(Duration::from_secs(seconds));
        assert_eq!([at(100), at(100), at(105), at(109)], [Some(0), None, None, None]);
        assert_eq!([at(110), at(111), at(200), at(300)], [Some(3), None, Some(1), Some(0)]);
    }
}

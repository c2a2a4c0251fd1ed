//! Warnings of what goes wrong with every request while it lasts: said now and then, with their number.

use std::cell::Cell;
use std::fmt::Display;
use std::time::Duration;

use log::warn;

/// The least time between two warnings of a worker.
const PAUSE: Duration = Duration::from_secs(10);

/// A worker's warnings.
#[derive(Default)]
pub(crate) struct Warnings {
    last: Cell<Option<Duration>>,
    unsaid: Cell<u64>,
}

impl Warnings {
    /// Says it, or counts it if another was said just before.
    pub(crate) fn warn(&self, now: Duration, message: impl Display) {
        match self.due(now) {
            Some(0) => warn!("{message}"),
            Some(unsaid) => warn!("{message} ({unsaid} warnings before it were not logged)"),
            None => {}
        }
    }

    /// How many were left unsaid since the last, if one may be said now.
    fn due(&self, now: Duration) -> Option<u64> {
        if self.last.get().is_some_and(|last| now.saturating_sub(last) < PAUSE) {
            self.unsaid.set(self.unsaid.get().saturating_add(1));
            return None;
        }
        self.last.set(Some(now));
        Some(self.unsaid.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_one_line_now_and_then() {
        let warnings = Warnings::default();
        let at = |seconds| warnings.due(Duration::from_secs(seconds));
        assert_eq!([at(100), at(100), at(105), at(109)], [Some(0), None, None, None]);
        assert_eq!([at(110), at(111), at(200), at(300)], [Some(3), None, Some(1), Some(0)]);
    }
}

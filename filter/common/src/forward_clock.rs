//! A clock that goes forward only, made of one that may be set.

use std::cell::Cell;
use std::time::Duration;

/// Adds up the steps forward of the system's clock. A step back counts for nothing, so what has a time to live does not outlive
/// it because somebody sets the clock.
#[derive(Debug, Default)]
pub struct ForwardClock {
    /// The last time by the system's clock.
    system: Cell<Option<Duration>>,
    now: Cell<Duration>,
}

impl ForwardClock {
    /// The time now, which it is by the system's clock.
    pub fn now(&self, system: Duration) -> Duration {
        let step =
            self.system.replace(Some(system)).map_or(Duration::ZERO, |last| system.saturating_sub(last));
        self.now.set(self.now.get().saturating_add(step));
        self.now.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_goes_on() {
        let clock = ForwardClock::default();
        let seconds = |system| clock.now(Duration::from_secs(system)).as_secs();
        assert_eq!([1000, 1010, 10, 20, 20, 1000].map(seconds), [0, 10, 10, 20, 20, 1000]);
    }
}

//! A monotonic clock, derived from a system clock that may be set.

use std::cell::Cell;
use std::time::Duration;

/// Adds up the forward steps of the system's clock. Steps back are ignored, so that entries do not outlive their time to live
/// when somebody sets the clock.
#[derive(Debug, Default)]
pub struct ForwardClock {
    /// The last time by the system's clock.
    system: Cell<Option<Duration>>,
    now: Cell<Duration>,
}

impl ForwardClock {
    /// The current time, given the system's time, if it can be read.
    pub fn now(&self, system: Option<Duration>) -> Duration {
        if let Some(system) = system {
            let last = self.system.replace(Some(system)).unwrap_or(system);
            self.now.set(self.now.get().saturating_add(system.saturating_sub(last)));
        }
        self.now.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_goes_on() {
        let clock = ForwardClock::default();
        let seconds = |system: Option<u64>| clock.now(system.map(Duration::from_secs)).as_secs();
        let systems = [Some(1000), Some(1010), Some(10), None, Some(20), Some(20), Some(1000)];
        assert_eq!(systems.map(seconds), [0, 10, 10, 10, 20, 20, 1000]);
    }
}

//! Measures the time of a training against its budget.

use std::time::{Duration, Instant};

/// The time that a training takes, and may take.
pub(super) struct Clock {
    start: Instant,
    /// Seconds of training in earlier processes.
    seconds_before: f64,
    /// How long this process may train. None if there is no time budget.
    budget: Option<Duration>,
}

impl Clock {
    /// Starts now. The budget counts from when the command started.
    pub(super) fn start(command_started: Instant, budget: Option<Duration>) -> Self {
        let start = Instant::now();
        let budget = budget.map(|budget| budget.saturating_sub(start - command_started));
        Self { start, seconds_before: 0.0, budget }
    }

    /// Adds the seconds of earlier processes.
    pub(super) fn resume(&mut self, seconds: f64) {
        self.seconds_before = seconds;
    }

    /// Subtracts the time for work after the training from the budget.
    pub(super) fn reserve(&mut self, time: Duration) {
        self.budget = self.budget.map(|budget| budget.saturating_sub(time));
    }

    /// Seconds of training, in all processes.
    pub(super) fn seconds(&self) -> f64 {
        self.seconds_before + self.start.elapsed().as_secs_f64()
    }

    /// When the training ends at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.budget.map(|budget| self.start + budget)
    }

    /// The fraction of the budget that is spent; 0 without a budget.
    pub(super) fn spent_fraction(&self) -> f64 {
        self.budget.map_or(0.0, |budget| self.start.elapsed().as_secs_f64() / budget.as_secs_f64().max(1e-3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_excludes_the_time_before_and_after_the_training() {
        let hour = Duration::from_secs(3600);
        let started = Instant::now() - hour / 2;
        let mut clock = Clock::start(started, Some(hour));
        clock.reserve(hour / 4);
        let left = clock.deadline().unwrap() - Instant::now();
        assert!(left <= hour / 4 && left > hour / 5, "{left:?}");
        assert!(clock.spent_fraction() < 0.01);
        clock.reserve(hour);
        assert!(clock.spent_fraction() > 0.0);
        assert_eq!(Clock::start(started, None).spent_fraction(), 0.0);
    }

    #[test]
    fn seconds_continue_from_earlier_processes() {
        let mut clock = Clock::start(Instant::now(), None);
        clock.resume(100.0);
        assert!(clock.seconds() >= 100.0);
    }
}

//! The time that a training takes, and may take.

use std::time::{Duration, Instant};

/// Began when this process began to train.
pub(super) struct Clock {
    since: Instant,
    /// Seconds that processes before this one took.
    before: f64,
    /// For how long it may train; none if there is no time budget.
    budget: Option<Duration>,
}

impl Clock {
    /// Begins now. The budget counts from when the command `began`.
    pub(super) fn start(began: Instant, budget: Option<Duration>) -> Self {
        let since = Instant::now();
        Self { since, before: 0.0, budget: budget.map(|budget| budget.saturating_sub(since - began)) }
    }

    /// Goes on from what processes before this one took.
    pub(super) fn resume(&mut self, seconds: f64) {
        self.before = seconds;
    }

    /// Keeps time for what is to be done at the end.
    pub(super) fn reserve(&mut self, time: Duration) {
        self.budget = self.budget.map(|budget| budget.saturating_sub(time));
    }

    /// Seconds that the training has taken, in all processes.
    pub(super) fn seconds(&self) -> f64 {
        self.before + self.since.elapsed().as_secs_f64()
    }

    /// When it ends at the latest.
    pub(super) fn until(&self) -> Option<Instant> {
        self.budget.map(|budget| self.since + budget)
    }

    /// The share of the budget that is used up; 0 without one.
    pub(super) fn spent(&self) -> f64 {
        self.budget.map_or(0.0, |budget| self.since.elapsed().as_secs_f64() / budget.as_secs_f64().max(1e-3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_before_and_what_comes_after_is_taken_off_the_budget() {
        let hour = Duration::from_secs(3600);
        let began = Instant::now() - hour / 2;
        let mut clock = Clock::start(began, Some(hour));
        clock.reserve(hour / 4);
        let left = clock.until().unwrap() - Instant::now();
        assert!(left <= hour / 4 && left > hour / 5, "{left:?}");
        assert!(clock.spent() < 0.01);
        clock.reserve(hour);
        assert!(clock.spent() > 0.0);
        assert_eq!(Clock::start(began, None).spent(), 0.0);
    }

    #[test]
    fn seconds_go_on_where_they_ended() {
        let mut clock = Clock::start(Instant::now(), None);
        clock.resume(100.0);
        assert!(clock.seconds() >= 100.0);
    }
}

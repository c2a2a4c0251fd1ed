//! What is left of many calls: how many there were, how long they took, how they failed.

use std::time::Instant;

use serde::Serialize;

use super::target::Failure;

/// The time in which is measured.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Before it, the target warms up.
    pub start: Instant,
    /// After it, calls that began in time are still awaited.
    pub end: Instant,
}

/// One call.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When it should have begun. A call that the load generator could not begin in time waited since then.
    pub due: Instant,
    /// When it ended.
    pub done: Instant,
    /// How.
    pub outcome: Result<(), Failure>,
}

/// The calls of a window. Rates are per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Statistics {
    /// Calls that were due in the window.
    pub offered_per_second: f64,
    /// Answers that came in the window.
    pub answered_per_second: f64,
    /// Of the calls that were due in the window and have an answer, even if it came later; none if there are no such.
    pub latency_ms: Option<Latency>,
    /// Of the calls that were due in the window.
    pub errors: Errors,
}

/// Milliseconds from when a call was due to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Half of the calls took no longer.
    pub p50: f64,
    /// 90 % of the calls took no longer.
    pub p90: f64,
    /// 99 % of the calls took no longer.
    pub p99: f64,
    /// No call took longer.
    pub max: f64,
}

/// Calls without an answer, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// Refused because too many waited.
    pub overloaded: usize,
    /// Not answered by their deadline.
    pub deadline_exceeded: usize,
    /// Anything else.
    pub failed: usize,
}

impl Window {
    fn has(self, time: Instant) -> bool {
        (self.start..self.end).contains(&time)
    }
}

impl Statistics {
    /// Of the calls, also those before and after the window.
    #[must_use]
    pub fn of(calls: &[Sample], window: Window) -> Self {
        let seconds = (window.end - window.start).as_secs_f64();
        let answered = calls.iter().filter(|call| call.outcome.is_ok() && window.has(call.done)).count();
        let due: Vec<_> = calls.iter().filter(|call| window.has(call.due)).collect();
        let mut errors = Errors::default();
        let mut milliseconds = Vec::with_capacity(due.len());
        for call in &due {
            match call.outcome {
                Ok(()) => milliseconds.push(call.done.duration_since(call.due).as_secs_f64() * 1e3),
                Err(Failure::Overloaded) => errors.overloaded += 1,
                Err(Failure::DeadlineExceeded) => errors.deadline_exceeded += 1,
                Err(Failure::Failed) => errors.failed += 1,
            }
        }
        milliseconds.sort_by(f64::total_cmp);
        Self {
            offered_per_second: due.len() as f64 / seconds,
            answered_per_second: answered as f64 / seconds,
            latency_ms: Latency::of(&milliseconds),
            errors,
        }
    }
}

impl Latency {
    fn of(sorted: &[f64]) -> Option<Self> {
        let at = |share| percentile(sorted, share);
        Some(Self { p50: at(0.5)?, p90: at(0.9)?, p99: at(0.99)?, max: at(1.0)? })
    }
}

/// The value that a share of the sorted values does not exceed (nearest rank); none of no values.
#[must_use]
pub fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A window of two seconds from the second one on, and calls given as when they are due, when done, and how.
    fn statistics(calls: &[(u64, u64, Result<(), Failure>)]) -> Statistics {
        let zero = Instant::now();
        let at = |milliseconds| zero + Duration::from_millis(milliseconds);
        let sample = |&(due, done, outcome)| Sample { due: at(due), done: at(done), outcome };
        let calls: Vec<_> = calls.iter().map(sample).collect();
        Statistics::of(&calls, Window { start: at(1000), end: at(3000) })
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            [0.5, 0.9, 0.99, 1.0].map(|share| percentile(&hundred, share).unwrap()),
            [50., 90., 99., 100.]
        );
        assert_eq!(percentile(&[7.0], 0.01), Some(7.0));
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 0.5), Some(2.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn calls_of_the_warm_up_are_not_measured() {
        let statistics =
            statistics(&[(0, 900, Ok(())), (10, 20, Err(Failure::Failed)), (1000, 1004, Ok(()))]);
        assert_eq!((statistics.offered_per_second, statistics.answered_per_second), (0.5, 0.5));
        assert_eq!(statistics.latency_ms.unwrap(), Latency { p50: 4.0, p90: 4.0, p99: 4.0, max: 4.0 });
        assert_eq!(statistics.errors, Errors::default());
    }

    #[test]
    fn an_answer_after_the_window_counts_as_late_but_not_as_throughput() {
        let statistics = statistics(&[(500, 1500, Ok(())), (2000, 2100, Ok(())), (2900, 4900, Ok(()))]);
        assert_eq!((statistics.offered_per_second, statistics.answered_per_second), (1.0, 1.0));
        assert_eq!(statistics.latency_ms.unwrap().max, 2000.0);
    }

    #[test]
    fn errors_are_counted_by_kind_and_have_no_latency() {
        let calls = [Failure::Overloaded, Failure::Overloaded, Failure::DeadlineExceeded, Failure::Failed];
        let statistics = statistics(&calls.map(|failure| (1500, 1501, Err(failure))));
        assert_eq!(statistics.errors, Errors { overloaded: 2, deadline_exceeded: 1, failed: 1 });
        assert_eq!((statistics.latency_ms, statistics.answered_per_second), (None, 0.0));
    }
}

//! Statistics of calls: rates, latencies and errors.

use std::time::Instant;

use serde::Serialize;

use super::target::Failure;

/// The period that is measured.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// The end of the warm-up.
    pub start: Instant,
    /// Calls that began before it are still awaited afterwards.
    pub end: Instant,
}

/// One call.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When it should have begun. If the load generator was late, the call has been waiting since then.
    pub due: Instant,
    /// When it ended.
    pub done: Instant,
    /// How it ended.
    pub outcome: Result<(), Failure>,
}

/// Statistics of a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Statistics {
    /// Calls that were due in the window.
    pub offered_per_second: f64,
    /// Predictions that arrived in the window.
    pub answered_per_second: f64,
    /// Latency of the calls that were due in the window and succeeded, even if later; none if no call did.
    pub latency_ms: Option<Latency>,
    /// Errors of the calls that were due in the window.
    pub errors: Errors,
}

/// Percentiles of the milliseconds from when a call was due to its prediction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The maximum.
    pub max: f64,
}

/// Failed calls by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// Rejected because too many prompts waited.
    pub overloaded: usize,
    /// Not finished by their deadline.
    pub deadline_exceeded: usize,
    /// Anything else.
    pub failed: usize,
}

impl Window {
    /// Whether a time is in the period.
    #[must_use]
    pub fn has(self, time: Instant) -> bool {
        (self.start..self.end).contains(&time)
    }

    /// The part of the period before `stopped`; without it, the whole period.
    #[must_use]
    pub fn ended_by(self, stopped: Option<Instant>) -> Self {
        let end = stopped.unwrap_or(self.end).clamp(self.start, self.end);
        Self { end, ..self }
    }

    /// Its length in seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        (self.end - self.start).as_secs_f64()
    }
}

impl Statistics {
    /// Computes the statistics of all calls, including those before and after the window.
    #[must_use]
    pub fn compute(calls: &[Sample], window: Window) -> Self {
        let seconds = window.seconds();
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
            latency_ms: Latency::compute(&milliseconds),
            errors,
        }
    }
}

impl Latency {
    /// The percentiles of sorted milliseconds; none if there are none.
    #[must_use]
    pub fn compute(sorted: &[f64]) -> Option<Self> {
        let at = |fraction| percentile(sorted, fraction);
        Some(Self { p50: at(0.5)?, p90: at(0.9)?, p99: at(0.99)?, max: at(1.0)? })
    }
}

/// The value that a fraction of the sorted values does not exceed (nearest rank); none if there are no values.
#[must_use]
pub fn percentile(sorted: &[f64], fraction: f64) -> Option<f64> {
    sorted.get(nearest_rank(sorted.len(), fraction)).copied()
}

/// The index of a percentile among this many sorted values.
pub(super) fn nearest_rank(values: usize, fraction: f64) -> usize {
    ((fraction * values as f64).ceil() as usize).saturating_sub(1)
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
        Statistics::compute(&calls, Window { start: at(1000), end: at(3000) })
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            [0.5, 0.9, 0.99, 1.0].map(|fraction| percentile(&hundred, fraction).unwrap()),
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
    fn a_call_that_ends_after_the_window_has_a_latency_but_no_throughput() {
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

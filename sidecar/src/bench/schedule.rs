//! Arrival times of calls that do not wait for each other.

use std::time::Duration;

/// A constant, so that all runs have the same arrivals.
const SEED: u64 = 1;

/// An endless sequence of arrival times since the start, on average `rate` per second: a Poisson process, like the calls
/// of many independent clients. With even gaps no two calls would ever coincide, which would hide queueing.
pub fn arrivals(rate: f64) -> impl Iterator<Item = Duration> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut seconds = 0.0;
    std::iter::from_fn(move || {
        // The gaps of a Poisson process have an exponential distribution. `f64()` is below 1, so the logarithm is finite.
        seconds -= (1.0 - random.f64()).ln() / rate;
        Duration::try_from_secs_f64(seconds).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_rate_is_as_requested() {
        for rate in [1.0, 50.0, 20_000.0] {
            let last = arrivals(rate).nth(9_999).unwrap().as_secs_f64();
            assert!((last * rate / 10_000.0 - 1.0).abs() < 0.03, "10000 at {rate} per second in {last} s");
        }
    }

    #[test]
    fn gaps_vary_and_are_the_same_in_every_run() {
        let times: Vec<_> = arrivals(100.0).take(1000).collect();
        assert!(times.is_sorted());
        let gaps: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        // In an exponential distribution, a fraction of 1 - 1/e is below the mean.
        let short = gaps.iter().filter(|gap| **gap < 0.01).count();
        assert!((580..680).contains(&short), "{short} of 999 gaps are below the mean");
        assert_eq!(times, arrivals(100.0).take(1000).collect::<Vec<_>>());
    }
}

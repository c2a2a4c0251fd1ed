//! When requests arrive that do not wait for each other.

use std::time::Duration;

/// Makes two runs alike.
const SEED: u64 = 1;

/// Times of arrival from the start on, without end, `rate` a second: a Poisson process, as of many clients that know
/// nothing of each other. Even gaps would never let two requests meet, and so hide what queues.
pub fn arrivals(rate: f64) -> impl Iterator<Item = Duration> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut seconds = 0.0;
    std::iter::from_fn(move || {
        // Gaps of a Poisson process are distributed exponentially; `f64` is below 1, so the logarithm is finite.
        seconds -= (1.0 - random.f64()).ln() / rate;
        Duration::try_from_secs_f64(seconds).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_arrive_as_asked_for() {
        for rate in [1.0, 50.0, 20_000.0] {
            let last = arrivals(rate).nth(9_999).unwrap().as_secs_f64();
            assert!((last * rate / 10_000.0 - 1.0).abs() < 0.03, "10000 at {rate} a second in {last} s");
        }
    }

    #[test]
    fn gaps_vary_and_are_the_same_in_every_run() {
        let times: Vec<_> = arrivals(100.0).take(1000).collect();
        assert!(times.is_sorted());
        let gaps: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        // Of an exponential distribution, the share 1 - 1/e is below the mean.
        let short = gaps.iter().filter(|gap| **gap < 0.01).count();
        assert!((580..680).contains(&short), "{short} of 999 gaps are below the mean");
        assert_eq!(times, arrivals(100.0).take(1000).collect::<Vec<_>>());
    }
}

//! The latency that the gateway adds, from pairs of the same request through the gateway and straight to the
//! LLM.
//!
//! Blocks of consecutive pairs are resampled (a circular block bootstrap), because what slows one request
//! down often slows down the next one too: resampling single pairs would make the intervals too narrow.

use std::collections::HashMap;

use fastrand::Rng;
use serde::Serialize;

use super::sample::{Sample, Side};
use crate::bench::statistics::{Window, nearest_rank, percentile};

/// A constant, so that the same samples have the same intervals.
const SEED: u64 = 1;

/// The number of resamples, unless there are too many pairs.
const RESAMPLES: usize = 1000;

/// The minimum number of resamples for a meaningful 2.5th percentile.
const FEWEST_RESAMPLES: usize = 200;

/// The approximate maximum of drawn values in all, which takes a second or two.
const MOST_DRAWS: usize = 50_000_000;

/// The number of pairs that a difference of medians needs.
const PAIRS_FOR_P50: usize = 20;

/// The number of pairs that a difference of 99th percentiles needs: five values lie above it.
const PAIRS_FOR_P99: usize = 500;

/// The difference between latencies through the gateway and without it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Added {
    /// Pairs whose requests both completed.
    pub pairs: usize,
    /// Difference of the medians; none if there are too few pairs.
    pub p50: Option<Estimate>,
    /// Difference of the 99th percentiles; none if there are too few pairs.
    pub p99: Option<Estimate>,
}

/// A difference in milliseconds with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The difference.
    pub ms: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

/// The latencies of one pair, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Pair {
    gateway: f64,
    direct: f64,
}

impl Added {
    /// Computes the difference of a figure of the samples that were due in the period.
    #[must_use]
    pub fn compute(samples: &[Sample], window: Window, figure: impl Fn(&Sample) -> Option<f64>) -> Self {
        let pairs = pairs(samples, window, figure);
        Self {
            pairs: pairs.len(),
            p50: estimate(&pairs, 0.5, PAIRS_FOR_P50),
            p99: estimate(&pairs, 0.99, PAIRS_FOR_P99),
        }
    }
}

/// The pairs in which both requests have the figure, in the order in which they were sent.
fn pairs(samples: &[Sample], window: Window, figure: impl Fn(&Sample) -> Option<f64>) -> Vec<Pair> {
    let due = samples.iter().filter(|sample| window.has(sample.due));
    let mut sides: HashMap<u64, (Option<f64>, Option<f64>)> = HashMap::new();
    for sample in due {
        let (gateway, direct) = sides.entry(sample.pair).or_default();
        match sample.side {
            Side::Gateway => *gateway = figure(sample),
            Side::Direct => *direct = figure(sample),
        }
    }
    let both = |(number, (gateway, direct))| Some((number, Pair { gateway: gateway?, direct: direct? }));
    let mut pairs: Vec<(u64, Pair)> = sides.into_iter().filter_map(both).collect();
    pairs.sort_by_key(|(number, _)| *number);
    pairs.into_iter().map(|(_, pair)| pair).collect()
}

fn estimate(pairs: &[Pair], fraction: f64, fewest: usize) -> Option<Estimate> {
    if pairs.len() < fewest {
        return None;
    }
    let ms = difference(&mut pairs.to_vec(), fraction)?;
    let mut random = Rng::with_seed(SEED);
    let resamples = (MOST_DRAWS / pairs.len()).clamp(FEWEST_RESAMPLES, RESAMPLES);
    let mut differences: Vec<f64> =
        (0..resamples).filter_map(|_| difference(&mut resample(pairs, &mut random), fraction)).collect();
    differences.sort_by(f64::total_cmp);
    Some(Estimate { ms, low: percentile(&differences, 0.025)?, high: percentile(&differences, 0.975)? })
}

fn resample(pairs: &[Pair], random: &mut Rng) -> Vec<Pair> {
    // The usual length for estimates of quantiles grows with the cube root.
    let block = (pairs.len() as f64).cbrt().ceil() as usize;
    let mut drawn = Vec::with_capacity(pairs.len() + block);
    while drawn.len() < pairs.len() {
        let start = random.usize(..pairs.len());
        drawn.extend(pairs.iter().cycle().skip(start).take(block));
    }
    drawn.truncate(pairs.len());
    drawn
}

/// The difference of the same quantile on both sides. Reorders the pairs.
fn difference(pairs: &mut [Pair], fraction: f64) -> Option<f64> {
    // As `percentile`, without sorting all of them.
    let index = nearest_rank(pairs.len(), fraction);
    if index >= pairs.len() {
        return None;
    }
    let mut quantile = |of: fn(&Pair) -> f64| {
        let (_, pair, _) = pairs.select_nth_unstable_by(index, |one, other| of(one).total_cmp(&of(other)));
        of(pair)
    };
    Some(quantile(|pair| pair.gateway) - quantile(|pair| pair.direct))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::failure::Failure;
    use super::super::sample::{Completed, Labels};
    use super::*;

    fn pair(gateway: f64, direct: f64) -> Pair {
        Pair { gateway, direct }
    }

    #[test]
    fn a_constant_difference_has_no_uncertainty() {
        let pairs: Vec<_> =
            (0..1000).map(|number| f64::from(number % 50)).map(|ms| pair(ms + 3.0, ms)).collect();
        for fraction in [0.5, 0.99] {
            let estimate = estimate(&pairs, fraction, 1).unwrap();
            assert_eq!((estimate.ms, estimate.low, estimate.high), (3.0, 3.0, 3.0));
        }
    }

    #[test]
    fn the_interval_covers_the_true_difference_about_as_often_as_it_says() {
        let mut random = Rng::with_seed(9);
        let covers = |random: &mut Rng| {
            // Exponential latencies whose medians differ by ln 2.
            let mut exponential = |mean: f64| -mean * (1.0 - random.f64()).ln();
            let pairs: Vec<_> = (0..200).map(|_| pair(exponential(2.0), exponential(1.0))).collect();
            let Estimate { low, high, .. } = estimate(&pairs, 0.5, 1).unwrap();
            (low..=high).contains(&2_f64.ln())
        };
        let covered = (0..200).filter(|_| covers(&mut random)).count();
        assert!((180..=199).contains(&covered), "{covered} of 200");
    }

    #[test]
    fn slow_phases_widen_the_interval() {
        let independent: Vec<_> =
            (0..1000).map(|number| if number % 10 == 0 { pair(9.0, 1.0) } else { pair(1.0, 1.0) }).collect();
        let phases: Vec<_> =
            (0..1000).map(|number| if number < 100 { pair(9.0, 1.0) } else { pair(1.0, 1.0) }).collect();
        let width = |pairs: &[Pair]| {
            let Estimate { low, high, .. } = estimate(pairs, 0.895, 1).unwrap();
            high - low
        };
        assert!(width(&phases) >= width(&independent));
        assert_eq!(width(&phases), 8.0);
    }

    #[test]
    fn few_pairs_have_no_estimate() {
        let pairs = vec![pair(1.0, 1.0); PAIRS_FOR_P50 - 1];
        assert_eq!(estimate(&pairs, 0.5, PAIRS_FOR_P50), None);
    }

    #[test]
    fn only_pairs_that_completed_both_ways_count() {
        let zero = Instant::now();
        let at = |milliseconds| zero + Duration::from_millis(milliseconds);
        let sample = |pair, side, due, end: Result<u64, Failure>| Sample {
            pair,
            side,
            is_streamed: false,
            due: at(due),
            labels: Labels::default(),
            outcome: end.map(|done| Completed { done: at(done), first_event: None }),
        };
        let samples = [
            sample(3, Side::Direct, 20, Ok(21)),
            sample(3, Side::Gateway, 10, Ok(15)),
            sample(1, Side::Gateway, 10, Ok(13)),
            sample(1, Side::Direct, 10, Err(Failure::Timeout)),
            sample(2, Side::Gateway, 10, Ok(17)),
            sample(2, Side::Direct, 10, Ok(12)),
            sample(4, Side::Gateway, 10, Ok(17)),
            sample(4, Side::Direct, 99, Ok(99)),
        ];
        let found = pairs(&samples, Window { start: at(10), end: at(50) }, Sample::latency_ms);
        let found: Vec<_> = found.iter().map(|pair| (pair.gateway, pair.direct)).collect();
        assert_eq!(found, [(7.0, 2.0), (5.0, 1.0)]);
    }
}

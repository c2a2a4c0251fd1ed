//! Confidence intervals by resampling: the percentile bootstrap.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use crate::eval::quantile;

/// The number of resamples.
pub const RESAMPLES: u64 = 1000;
/// The probability that an interval covers the true value.
pub const LEVEL: f64 = 0.95;

/// A figure with its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The figure of all rows.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Resamples rows with replacement, whole groups at a time, since rows of a group are not independent.
#[derive(Debug)]
pub struct Bootstrap {
    /// The rows of each group.
    groups: Vec<Vec<usize>>,
    seed: u64,
}

impl Bootstrap {
    /// A bootstrap over rows with these groups. The seed determines all resamples, so figures that are computed one after
    /// the other come from the same ones.
    #[must_use]
    pub fn new(groups: &[usize], seed: u64) -> Self {
        let mut rows: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (row, group) in groups.iter().enumerate() {
            rows.entry(*group).or_default().push(row);
        }
        Self { groups: rows.into_values().collect(), seed }
    }

    /// The number of groups.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Estimates figures, which are computed from the indices of rows. Resamples without figures do not count.
    ///
    /// None if the rows themselves, or all resamples, have no figures.
    pub fn estimate<const N: usize>(
        &self,
        figures: impl Fn(&[usize]) -> Option<[f64; N]> + Sync,
    ) -> Option<[Estimate; N]> {
        self.estimate_all(|rows| Some(vec![figures(rows)?]))?.pop()
    }

    /// Estimates several sets of figures from the same resamples, as [`estimate`](Self::estimate) does one.
    pub fn estimate_all<const N: usize>(
        &self,
        figures: impl Fn(&[usize]) -> Option<Vec<[f64; N]>> + Sync,
    ) -> Option<Vec<[Estimate; N]>> {
        let values = figures(&self.groups.concat())?;
        let resampled: Vec<_> =
            (0..RESAMPLES).into_par_iter().filter_map(|number| figures(&self.resample(number))).collect();
        let estimate = |set: usize, index: usize| {
            let figure = |sets: &Vec<[f64; N]>| sets.get(set)?.get(index).copied();
            let mut sorted: Vec<f64> = resampled.iter().filter_map(figure).collect();
            sorted.sort_by(f64::total_cmp);
            let tail = (1.0 - LEVEL) / 2.0;
            let (low, high) = (quantile(&sorted, tail)?, quantile(&sorted, 1.0 - tail)?);
            Some(Estimate { value: figure(&values)?, low, high })
        };
        let set = |set| {
            let estimates: Option<Vec<_>> = (0..N).map(|index| estimate(set, index)).collect();
            estimates?.try_into().ok()
        };
        (0..values.len()).map(set).collect()
    }

    fn resample(&self, number: u64) -> Vec<usize> {
        let mut random = fastrand::Rng::with_seed(self.seed.wrapping_mul(RESAMPLES).wrapping_add(number));
        let draws = (0..self.groups.len()).filter_map(|_| self.groups.get(random.usize(..self.groups.len())));
        draws.flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[f64], rows: &[usize]) -> f64 {
        rows.iter().map(|&row| values[row]).sum::<f64>() / rows.len() as f64
    }

    fn alone(rows: usize) -> Vec<usize> {
        (0..rows).collect()
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_the_normal_distribution() {
        let mut random = fastrand::Rng::with_seed(2);
        let values: Vec<_> = (0..400).map(|_| random.f64()).collect();
        let bootstrap = Bootstrap::new(&alone(400), 1);
        let [found] = bootstrap.estimate(|rows| Some([mean(&values, rows)])).unwrap();
        // The deviation of uniform numbers is the root of 1/12.
        let half = 1.96 * (1.0f64 / 12.0 / 400.0).sqrt();
        assert!((found.low - (found.value - half)).abs() < 0.1 * half, "{found:?} {half}");
        assert!((found.high - (found.value + half)).abs() < 0.1 * half, "{found:?} {half}");
    }

    #[test]
    fn nineteen_of_twenty_intervals_cover_the_true_mean() {
        let mut random = fastrand::Rng::with_seed(3);
        let (sets, rows) = (300, 80);
        let covering = (0..sets).filter(|&seed| {
            let values: Vec<_> = (0..rows).map(|_| f64::from(u8::from(random.f64() < 0.3))).collect();
            let [found] =
                Bootstrap::new(&alone(rows), seed).estimate(|rows| Some([mean(&values, rows)])).unwrap();
            (found.low..=found.high).contains(&0.3)
        });
        let fraction = covering.count() as f64 / sets as f64;
        assert!((0.91..=0.98).contains(&fraction), "{fraction}");
    }

    #[test]
    fn the_same_seed_gives_the_same_interval_and_the_same_resamples_for_all_figures() {
        let values: Vec<_> = (0..50).map(|row| f64::from(row % 7)).collect();
        let with =
            |seed| Bootstrap::new(&alone(50), seed).estimate(|rows| Some([mean(&values, rows)])).unwrap();
        assert_eq!(with(1), with(1));
        assert_ne!(with(1), with(2));
        let bootstrap = Bootstrap::new(&alone(50), 1);
        let [difference] =
            bootstrap.estimate(|rows| Some([mean(&values, rows) - mean(&values, rows)])).unwrap();
        assert_eq!(difference, Estimate { value: 0.0, low: 0.0, high: 0.0 });
    }

    #[test]
    fn groups_widen_the_interval_of_rows_that_are_alike() {
        let values: Vec<_> = (0..200).map(|row| f64::from(u8::from(row / 10 % 2 == 0))).collect();
        let width = |groups: &[usize]| {
            let [found] = Bootstrap::new(groups, 1).estimate(|rows| Some([mean(&values, rows)])).unwrap();
            found.high - found.low
        };
        let grouped: Vec<_> = (0..200).map(|row| row / 10).collect();
        assert!(width(&grouped) > 2.5 * width(&alone(200)), "{} {}", width(&grouped), width(&alone(200)));
    }

    #[test]
    fn rows_without_figures_have_no_estimate() {
        let bootstrap = Bootstrap::new(&alone(5), 1);
        assert_eq!(bootstrap.estimate(|_| None::<[f64; 1]>), None);
        assert_eq!(Bootstrap::new(&[], 1).estimate(|rows| (!rows.is_empty()).then_some([1.0])), None);
    }
}

//! Measures of how well scores rank rows.

use serde::Serialize;

/// The area under the receiver operating characteristic: the probability that a positive row has a higher score than a
/// negative one, where ties count half. None if there are no positives or no negatives.
#[must_use]
pub fn auroc(positives: &[f64], negatives: &[f64]) -> Option<f64> {
    let (count, others) = (positives.len() as f64, negatives.len() as f64);
    if positives.is_empty() || negatives.is_empty() {
        return None;
    }
    // Mann and Whitney: the ranks of the positives among all rows, minus their ranks among themselves.
    let ranks = ranks(&[positives, negatives].concat());
    let sum: f64 = ranks.iter().take(positives.len()).sum();
    Some((sum - count * (count + 1.0) / 2.0) / (count * others))
}

/// A threshold, and the rates at which rows exceed it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OperatingPoint {
    /// Rows with a score above it are predicted to be positive.
    pub threshold: f64,
    /// The fraction of the negatives above it.
    pub false_positive_rate: f64,
    /// The fraction of the positives above it.
    pub recall: f64,
}

/// The lowest threshold whose rate of false positives is at most this. None without positives or negatives.
#[must_use]
pub fn recall_at(positives: &[f64], negatives: &[f64], false_positive_rate: f64) -> Option<OperatingPoint> {
    let mut sorted = negatives.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let allowed = (false_positive_rate * negatives.len() as f64).floor() as usize;
    // If all negatives are allowed, the threshold is below all rows.
    let threshold = sorted.get(allowed).copied().unwrap_or(f64::NEG_INFINITY);
    let above = |rows: &[f64]| {
        rows.iter().filter(|score| **score > threshold).count() as f64 / rows.len().max(1) as f64
    };
    (!positives.is_empty() && !negatives.is_empty()).then(|| OperatingPoint {
        threshold,
        false_positive_rate: above(negatives),
        recall: above(positives),
    })
}

/// Spearman's rank correlation, from -1 to 1. Equal values share their mean rank. None if one side is constant.
#[must_use]
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    let (a, b) = (ranks(a), ranks(b));
    let mean = |ranks: &[f64]| ranks.iter().sum::<f64>() / ranks.len() as f64;
    let (mean_a, mean_b) = (mean(&a), mean(&b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(&b).map(|(a, b)| f(a - mean_a, b - mean_b)).sum()
    };
    let spread = (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt();
    (spread > 0.0).then(|| sum(&|a, b| a * b) / spread)
}

/// The rank of each value, from 1. Equal values share their mean rank.
fn ranks(values: &[f64]) -> Vec<f64> {
    // Adding 0 turns -0 into 0, which it equals.
    let mut sorted: Vec<_> = values.iter().map(|value| value + 0.0).enumerate().collect();
    sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in sorted.chunk_by(|a, b| a.1.total_cmp(&b.1).is_eq()) {
        let rank = before as f64 + (equal.len() + 1) as f64 / 2.0;
        for (index, _) in equal {
            if let Some(slot) = ranks.get_mut(*index) {
                *slot = rank;
            }
        }
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_the_fraction_of_pairs_in_order() {
        // Of six pairs, 0.9 wins three, 0.4 wins one and ties one.
        assert_eq!(auroc(&[0.9, 0.4], &[0.1, 0.4, 0.8]), Some(4.5 / 6.0));
        assert_eq!(auroc(&[1.0], &[0.0]), Some(1.0));
        assert_eq!(auroc(&[0.5, 0.5], &[0.5]), Some(0.5));
        assert_eq!(auroc(&[], &[0.5]), None);
    }

    #[test]
    fn recall_is_measured_at_the_allowed_rate_of_false_positives() {
        let negatives = [0.9, 0.5, 0.4, 0.3];
        let point = recall_at(&[0.95, 0.6, 0.5, 0.1], &negatives, 0.25).unwrap();
        assert_eq!((point.threshold, point.false_positive_rate, point.recall), (0.5, 0.25, 0.5));
        // A quarter of four is one row; a little less is none.
        assert_eq!(recall_at(&[0.95, 0.6], &negatives, 0.24).unwrap().recall, 0.5);
        assert_eq!(recall_at(&[0.95, 0.6], &negatives, 1.0).unwrap().recall, 1.0);
    }

    #[test]
    fn rank_correlation_counts_ties() {
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 100.0, 1000.0]), Some(1.0));
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), Some(-1.0));
        // Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: 4.5 / root of 4.5 · 5.
        let tied = spearman(&[0.1, 0.2, 0.2, 0.3], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!((tied - 4.5 / 22.5f64.sqrt()).abs() < 1e-12, "{tied}");
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[-0.0, 0.0], &[1.0, 2.0]), None);
    }
}

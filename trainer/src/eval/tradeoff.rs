//! The trade-off of a score's thresholds: the fraction of strong calls, the quality and the cost of each.

use std::fmt;

use serde::Serialize;

/// Which scores go to the strong model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum StrongWhen {
    /// Scores up to the threshold, such as those that predict how likely the weak model suffices.
    Low,
    /// Scores above the threshold, such as a complexity.
    High,
}

impl fmt::Display for StrongWhen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::High => "high",
        })
    }
}

/// The quality and cost of a completion, or their sum over completions.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct QualityCost {
    /// The grade.
    pub quality: f64,
    /// The price, in any unit.
    pub cost: f64,
}

/// A row whose completions by both models were graded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GradedRow {
    /// The classifier's score, 0 to 1.
    pub score: f32,
    /// The weak model's completion.
    pub weak: QualityCost,
    /// The strong model's completion.
    pub strong: QualityCost,
}

/// A threshold, and the results of routing by it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ThresholdPoint {
    /// The threshold: `up_to` of the first of two bands in a policy.
    pub threshold: f32,
    /// The fraction of strong calls.
    pub strong_fraction: f64,
    /// Mean quality.
    pub quality: f64,
    /// Mean cost.
    pub cost: f64,
}

/// Returns a point for each way in which thresholds can divide the rows, by rising fraction of strong calls. Rows with the
/// same score go to the same model.
#[must_use]
pub fn sweep(rows: &[GradedRow], when: StrongWhen) -> Vec<ThresholdPoint> {
    let mut sorted = rows.to_vec();
    // By the order in which rows go to the strong model as the threshold moves.
    sorted.sort_by(|a, b| match when {
        StrongWhen::Low => a.score.total_cmp(&b.score),
        StrongWhen::High => b.score.total_cmp(&a.score),
    });
    let count = rows.len().max(1) as f64;
    let mut sum = rows.iter().fold(QualityCost::default(), |sum, row| sum.plus(row.weak));
    let mut points = Vec::new();
    let mut strong = 0;
    let mut last: Option<f32> = None;
    for group in sorted.chunk_by(|a, b| a.score.to_bits() == b.score.to_bits()) {
        let next = group.first().map(|row| row.score);
        points.extend(between(last, next, when).map(|threshold| point(threshold, strong, sum, count)));
        for row in group {
            sum = sum.minus(row.weak).plus(row.strong);
        }
        strong += group.len();
        last = next;
    }
    points.extend(between(last, None, when).map(|threshold| point(threshold, strong, sum, count)));
    points
}

impl QualityCost {
    fn plus(self, other: Self) -> Self {
        Self { quality: self.quality + other.quality, cost: self.cost + other.cost }
    }

    fn minus(self, other: Self) -> Self {
        Self { quality: self.quality - other.quality, cost: self.cost - other.cost }
    }
}

fn point(threshold: f32, strong: usize, sum: QualityCost, count: f64) -> ThresholdPoint {
    let QualityCost { quality, cost } = sum;
    ThresholdPoint {
        threshold,
        strong_fraction: strong as f64 / count,
        quality: quality / count,
        cost: cost / count,
    }
}

/// A threshold that separates the last strong score from the first weak one, with as few digits as possible. The ends of
/// the scale are 0 and 1. None if no threshold from 0 to 1 separates them.
fn between(strong: Option<f32>, weak: Option<f32>, when: StrongWhen) -> Option<f32> {
    // The first band includes its threshold.
    let (from, below) = match when {
        StrongWhen::Low => (strong, weak),
        StrongWhen::High => (weak, strong),
    };
    let from = from.unwrap_or(0.0);
    let Some(below) = below else { return Some(1.0) };
    let middle = f64::midpoint(f64::from(from), f64::from(below));
    let rounded = (2..=8).map(|digits| {
        let scale = 10f64.powi(digits);
        ((middle * scale).round() / scale) as f32
    });
    rounded.into_iter().find(|threshold| (from..below).contains(threshold)).or((from < below).then_some(from))
}

/// The point whose fraction of strong calls is nearest to the given one.
#[must_use]
pub fn with_strong_fraction(points: &[ThresholdPoint], fraction: f64) -> Option<&ThresholdPoint> {
    let distance = |point: &ThresholdPoint| (point.strong_fraction - fraction).abs();
    points.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

/// The point with the fewest strong calls that keeps this fraction of the quality of strong calls alone.
#[must_use]
pub fn with_quality(points: &[ThresholdPoint], fraction: f64) -> Option<&ThresholdPoint> {
    let wanted = fraction * points.last()?.quality;
    points.iter().find(|point| point.quality >= wanted - 1e-12)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Rows of score, weak grade and strong grade. A weak call costs 1, a strong one 5.
    pub(crate) fn rows(rows: &[(f32, f64, f64)]) -> Vec<GradedRow> {
        let row = |&(score, weak, strong)| GradedRow {
            score,
            weak: QualityCost { quality: weak, cost: 1.0 },
            strong: QualityCost { quality: strong, cost: 5.0 },
        };
        rows.iter().map(row).collect()
    }

    /// The fraction of rows that a policy with this threshold sends to the strong model.
    fn routed(rows: &[GradedRow], threshold: f32, when: StrongWhen) -> f64 {
        let first = rows.iter().filter(|row| row.score <= threshold).count() as f64 / rows.len() as f64;
        if when == StrongWhen::Low { first } else { 1.0 - first }
    }

    #[test]
    fn a_policy_with_a_threshold_has_its_fraction_of_strong_calls() {
        let rows = rows(&[
            (0.1, 0.0, 1.0),
            (0.4, 0.0, 1.0),
            (0.4, 1.0, 1.0),
            (0.400_000_1, 1.0, 0.0),
            (0.9, 1.0, 1.0),
        ]);
        for when in [StrongWhen::Low, StrongWhen::High] {
            let points = sweep(&rows, when);
            let fractions: Vec<_> = points.iter().map(|point| point.strong_fraction).collect();
            let expected =
                if when == StrongWhen::Low { [0.0, 0.2, 0.6, 0.8, 1.0] } else { [0.0, 0.2, 0.4, 0.8, 1.0] };
            assert_eq!(fractions, expected);
            for point in &points {
                assert!(
                    (routed(&rows, point.threshold, when) - point.strong_fraction).abs() < 1e-9,
                    "{point:?}"
                );
                assert!((0.0..=1.0).contains(&point.threshold));
            }
        }
    }

    #[test]
    fn quality_and_cost_follow_the_calls() {
        let points = sweep(&rows(&[(0.2, 0.0, 1.0), (0.8, 1.0, 0.5)]), StrongWhen::Low);
        let found: Vec<_> = points.iter().map(|point| (point.threshold, point.quality, point.cost)).collect();
        assert_eq!(found, [(0.1, 0.5, 1.0), (0.5, 1.0, 3.0), (1.0, 0.75, 5.0)]);
    }

    #[test]
    fn a_score_of_0_is_always_in_the_first_band() {
        let points = sweep(&rows(&[(0.0, 0.0, 1.0), (0.5, 0.0, 1.0)]), StrongWhen::Low);
        assert_eq!(points.first().map(|point| point.strong_fraction), Some(0.5));
        let points = sweep(&rows(&[(0.0, 0.0, 1.0), (0.5, 0.0, 1.0)]), StrongWhen::High);
        assert_eq!(points.last().map(|point| point.strong_fraction), Some(0.5));
    }

    #[test]
    fn a_threshold_is_picked_by_strong_fraction_or_by_quality() {
        let all: Vec<_> = (1..10).map(|row| (row as f32 / 10.0, f64::from(row > 3), 1.0)).collect();
        let points = sweep(&rows(&all), StrongWhen::Low);
        let by_fraction = with_strong_fraction(&points, 0.45).unwrap();
        assert!(
            (by_fraction.strong_fraction - 4.0 / 9.0).abs() < 1e-9 && by_fraction.threshold == 0.45,
            "{by_fraction:?}"
        );
        // The weak model alone has 6 of 9, the strong one 9 of 9.
        let rows = [0.5, 0.7, 1.0].map(|part| with_quality(&points, part).unwrap().strong_fraction * 9.0);
        assert_eq!(rows.map(f64::round), [0.0, 1.0, 3.0]);
    }
}

//! What each threshold of a score means: how many strong calls, how much quality, at what cost.

use serde::Serialize;

/// Which scores go to the strong model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum StrongWhen {
    /// Those up to the threshold, as of a score that says how likely the weak model suffices.
    Low,
    /// Those above the threshold, as of a complexity.
    High,
}

/// What a row yields with each model: quality and cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Yield {
    /// The answer's grade.
    pub quality: f64,
    /// The price, in any unit.
    pub cost: f64,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// The classifier's score, 0 to 1.
    pub score: f32,
    /// With the weak model.
    pub weak: Yield,
    /// With the strong model.
    pub strong: Yield,
}

/// A threshold, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// What a policy has as `up_to` of the first of two bands.
    pub threshold: f32,
    /// The share of strong calls.
    pub strong_share: f64,
    /// Mean quality.
    pub quality: f64,
    /// Mean cost.
    pub cost: f64,
}

/// All that thresholds can do, from the least share of strong calls to the largest. Rows of the same score go together.
#[must_use]
pub fn sweep(rows: &[Row], when: StrongWhen) -> Vec<Point> {
    let mut sorted = rows.to_vec();
    // The first to go to the strong model first.
    sorted.sort_by(|a, b| match when {
        StrongWhen::Low => a.score.total_cmp(&b.score),
        StrongWhen::High => b.score.total_cmp(&a.score),
    });
    let count = rows.len().max(1) as f64;
    let mut sum = rows.iter().fold(Yield::default(), |sum, row| sum.plus(row.weak));
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

impl Yield {
    fn plus(self, other: Self) -> Self {
        Self { quality: self.quality + other.quality, cost: self.cost + other.cost }
    }

    fn minus(self, other: Self) -> Self {
        Self { quality: self.quality - other.quality, cost: self.cost - other.cost }
    }
}

fn point(threshold: f32, strong: usize, sum: Yield, count: f64) -> Point {
    let Yield { quality, cost } = sum;
    Point { threshold, strong_share: strong as f64 / count, quality: quality / count, cost: cost / count }
}

/// A threshold that separates the last strong score from the first weak one, with as few digits as do; the ends of the
/// scale are 0 and 1. None if no threshold of 0 to 1 does.
fn between(strong: Option<f32>, weak: Option<f32>, when: StrongWhen) -> Option<f32> {
    // A score up to the threshold, itself included, is in the first band.
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

/// The point with a share of strong calls as near as can be to the wanted one.
#[must_use]
pub fn with_share(points: &[Point], share: f64) -> Option<&Point> {
    let off = |point: &Point| (point.strong_share - share).abs();
    points.iter().min_by(|a, b| off(a).total_cmp(&off(b)))
}

/// The point with the fewest strong calls that keeps this part of the quality of strong calls alone.
#[must_use]
pub fn with_quality(points: &[Point], part: f64) -> Option<&Point> {
    let wanted = part * points.last()?.quality;
    points.iter().find(|point| point.quality >= wanted - 1e-12)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(f32, f64, f64)]) -> Vec<Row> {
        let row = |&(score, weak, strong)| Row {
            score,
            weak: Yield { quality: weak, cost: 1.0 },
            strong: Yield { quality: strong, cost: 5.0 },
        };
        rows.iter().map(row).collect()
    }

    /// The share of rows that a policy with this threshold sends to the strong model.
    fn routed(rows: &[Row], threshold: f32, when: StrongWhen) -> f64 {
        let first = rows.iter().filter(|row| row.score <= threshold).count() as f64 / rows.len() as f64;
        if when == StrongWhen::Low { first } else { 1.0 - first }
    }

    #[test]
    fn every_threshold_does_in_a_policy_what_it_says() {
        let rows = rows(&[
            (0.1, 0.0, 1.0),
            (0.4, 0.0, 1.0),
            (0.4, 1.0, 1.0),
            (0.400_000_1, 1.0, 0.0),
            (0.9, 1.0, 1.0),
        ]);
        for when in [StrongWhen::Low, StrongWhen::High] {
            let points = sweep(&rows, when);
            let shares: Vec<_> = points.iter().map(|point| point.strong_share).collect();
            let expected =
                if when == StrongWhen::Low { [0.0, 0.2, 0.6, 0.8, 1.0] } else { [0.0, 0.2, 0.4, 0.8, 1.0] };
            assert_eq!(shares, expected);
            for point in &points {
                assert!(
                    (routed(&rows, point.threshold, when) - point.strong_share).abs() < 1e-9,
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
    fn a_score_of_0_cannot_be_left_out() {
        let points = sweep(&rows(&[(0.0, 0.0, 1.0), (0.5, 0.0, 1.0)]), StrongWhen::Low);
        assert_eq!(points.first().map(|point| point.strong_share), Some(0.5));
        let points = sweep(&rows(&[(0.0, 0.0, 1.0), (0.5, 0.0, 1.0)]), StrongWhen::High);
        assert_eq!(points.last().map(|point| point.strong_share), Some(0.5));
    }

    #[test]
    fn a_threshold_is_picked_by_share_or_by_quality() {
        let all: Vec<_> = (1..10).map(|row| (row as f32 / 10.0, f64::from(row > 3), 1.0)).collect();
        let points = sweep(&rows(&all), StrongWhen::Low);
        let by_share = with_share(&points, 0.45).unwrap();
        assert!(
            (by_share.strong_share - 4.0 / 9.0).abs() < 1e-9 && by_share.threshold == 0.45,
            "{by_share:?}"
        );
        // Weak alone has 6 of 9; strong 9 of 9.
        let shares = [0.5, 0.7, 1.0].map(|part| with_quality(&points, part).unwrap().strong_share * 9.0);
        assert_eq!(shares.map(f64::round), [0.0, 1.0, 3.0]);
    }
}

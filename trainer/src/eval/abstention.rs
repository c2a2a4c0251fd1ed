//! Abstention: the accuracy of a head if prompts with a low confidence keep their default model.

use serde::Serialize;

use super::agreement::fraction;

/// The fractions of rows for which the points of a curve are given.
const COVERAGES: [f64; 6] = [1.0, 0.95, 0.9, 0.8, 0.7, 0.5];

/// The curve of risk and coverage (El-Yaniv and Wiener 2010, "On the foundations of noise-free selective classification").
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Abstention {
    /// The area under the curve: the fraction of wrong predictions, averaged over all coverages. 0 is best.
    pub area: f64,
    /// Points of the curve, from all rows to the most confident half.
    pub points: Vec<Coverage>,
}

/// The most confident rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Coverage {
    /// The fraction of rows with at least this confidence.
    pub coverage: f64,
    /// The lowest confidence among them.
    pub confidence: f64,
    /// The fraction of them that are right.
    pub accuracy: f64,
}

impl Abstention {
    /// Sorts predictions, each with its confidence and whether it was right.
    #[must_use]
    pub fn from_outcomes(outcomes: &[(f64, bool)]) -> Self {
        let mut sorted = outcomes.to_vec();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        // Rows of one confidence are decided together: a threshold cannot divide them.
        let (mut seen, mut wrong, mut sum) = (0, 0, 0.0);
        let mut curve = Vec::new();
        for equal in sorted.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
            seen += equal.len();
            wrong += equal.iter().filter(|(_, right)| !right).count();
            sum += equal.len() as f64 * fraction(wrong, seen);
            let confidence = equal.first().map_or(0.0, |(confidence, _)| *confidence);
            let coverage = fraction(seen, sorted.len());
            curve.push(Coverage { coverage, confidence, accuracy: 1.0 - fraction(wrong, seen) });
        }
        let at = |wanted: f64| curve.iter().find(|point| point.coverage >= wanted - 1e-9).cloned();
        Self {
            area: sum / sorted.len().max(1) as f64,
            points: COVERAGES.iter().filter_map(|it| at(*it)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_confident_rows_are_the_most_accurate_if_confidences_are_right() {
        let outcomes: Vec<_> = (0..10).map(|row| (f64::from(row) / 10.0, row >= 2)).collect();
        let abstention = Abstention::from_outcomes(&outcomes);
        let point = |index: usize| &abstention.points[index];
        assert_eq!((point(0).coverage, point(0).accuracy, point(0).confidence), (1.0, 0.8, 0.0));
        assert_eq!((point(3).coverage, point(3).accuracy, point(3).confidence), (0.8, 1.0, 0.2));
        // One of nine, and two of ten, are wrong.
        assert!((abstention.area - (1.0 / 9.0 + 0.2) / 10.0).abs() < 1e-12, "{}", abstention.area);
    }

    #[test]
    fn rows_of_one_confidence_stay_together() {
        let abstention = Abstention::from_outcomes(&[(0.9, true), (0.5, true), (0.5, false), (0.5, false)]);
        let coverages: Vec<_> = abstention.points.iter().map(|point| point.coverage).collect();
        assert_eq!(coverages, [1.0; 6]);
        assert_eq!(Abstention::from_outcomes(&[]).points, []);
    }
}

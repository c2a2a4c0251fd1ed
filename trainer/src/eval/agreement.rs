//! How well predictions agree with labels.

use serde::Serialize;

/// Agreement on one set of rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of rows.
    pub rows: usize,
    /// Share of rows predicted right.
    pub accuracy: f64,
    /// Mean F1 of the labels that have rows here.
    pub macro_f1: f64,
    /// Share of the most frequent label: what always answering it would score.
    pub majority_accuracy: f64,
    /// Each label that has rows here.
    pub labels: Vec<LabelEvaluation>,
}

/// Agreement on one label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelEvaluation {
    /// The label.
    pub label: String,
    /// Rows that have it.
    pub rows: usize,
    /// Share of the rows predicted so that have it.
    pub precision: f64,
    /// Share of the rows that have it predicted so.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
}

impl Evaluation {
    /// Compares predicted with true labels; both are indices of `names`.
    #[must_use]
    pub fn new(names: &[String], predicted: &[i64], truth: &[i64]) -> Self {
        let pairs = || predicted.iter().zip(truth);
        let labels: Vec<_> = names
            .iter()
            .zip(0i64..)
            .map(|(name, label)| {
                LabelEvaluation::of(name, pairs().map(|(&answer, &truth)| (answer == label, truth == label)))
            })
            .filter(|label| label.rows > 0)
            .collect();
        let right = pairs().filter(|(p, t)| p == t).count();
        let most = labels.iter().map(|label| label.rows).max().unwrap_or(0);
        Self {
            rows: truth.len(),
            accuracy: share(right, truth.len()),
            macro_f1: labels.iter().map(|label| label.f1).sum::<f64>() / labels.len().max(1) as f64,
            majority_accuracy: share(most, truth.len()),
            labels,
        }
    }
}

impl LabelEvaluation {
    /// Of rows: whether the label was answered, and whether it is true.
    #[must_use]
    pub fn of(label: &str, pairs: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let (mut right, mut answers, mut rows) = (0, 0, 0);
        for (answer, truth) in pairs {
            right += usize::from(answer && truth);
            answers += usize::from(answer);
            rows += usize::from(truth);
        }
        Self {
            label: label.to_owned(),
            rows,
            precision: share(right, answers),
            recall: share(right, rows),
            f1: share(2 * right, rows + answers),
        }
    }
}

/// A part of a whole, 0 of nothing.
pub(crate) fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_is_counted_by_label() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let evaluation = Evaluation::new(&names, &[0, 0, 1, 2], &[0, 1, 1, 1]);
        assert_eq!((evaluation.accuracy, evaluation.majority_accuracy), (0.5, 0.75));
        assert_eq!(evaluation.labels.len(), 2, "c has no rows");
        let (a, b) = (&evaluation.labels[0], &evaluation.labels[1]);
        assert_eq!((a.precision, a.recall, a.f1), (0.5, 1.0, 2.0 / 3.0));
        assert_eq!((b.precision, b.recall, b.f1), (1.0, 1.0 / 3.0, 0.5));
        assert!((evaluation.macro_f1 - (2.0 / 3.0 + 0.5) / 2.0).abs() < 1e-12);
    }

    #[test]
    fn no_rows_are_no_agreement() {
        assert_eq!(Evaluation::new(&["a".to_owned()], &[], &[]).accuracy, 0.0);
    }
}

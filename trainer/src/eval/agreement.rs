//! The agreement of predicted with true labels.

use serde::Serialize;

/// The agreement on some rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// The number of rows.
    pub rows: usize,
    /// The fraction of rows whose prediction is right.
    pub accuracy: f64,
    /// The mean F1 of the labels that have rows.
    pub macro_f1: f64,
    /// The accuracy of always predicting the most frequent label.
    pub majority_accuracy: f64,
    /// The agreement of each label that has rows.
    pub labels: Vec<LabelEvaluation>,
}

/// The agreement of one label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelEvaluation {
    /// The label.
    pub label: String,
    /// The number of rows with the label.
    pub rows: usize,
    /// The fraction of the rows with this prediction that have the label.
    pub precision: f64,
    /// The fraction of the rows with the label that have this prediction.
    pub recall: f64,
    /// The harmonic mean of precision and recall.
    pub f1: f64,
}

impl Evaluation {
    /// Compares predicted with true labels, which are indices of `names`.
    #[must_use]
    pub fn compute(names: &[String], predicted: &[i64], truth: &[i64]) -> Self {
        let pairs = || predicted.iter().zip(truth);
        let labels: Vec<_> = names
            .iter()
            .zip(0i64..)
            .map(|(name, label)| {
                LabelEvaluation::from_pairs(
                    name,
                    pairs().map(|(&predicted, &truth)| (predicted == label, truth == label)),
                )
            })
            .filter(|label| label.rows > 0)
            .collect();
        let right = pairs().filter(|(p, t)| p == t).count();
        let most = labels.iter().map(|label| label.rows).max().unwrap_or(0);
        Self {
            rows: truth.len(),
            accuracy: fraction(right, truth.len()),
            macro_f1: labels.iter().map(|label| label.f1).sum::<f64>() / labels.len().max(1) as f64,
            majority_accuracy: fraction(most, truth.len()),
            labels,
        }
    }
}

impl LabelEvaluation {
    /// Counts rows, each given as whether the label was predicted, and whether it is true.
    #[must_use]
    pub fn from_pairs(label: &str, pairs: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let (mut right, mut predictions, mut rows) = (0, 0, 0);
        for (predicted, truth) in pairs {
            right += usize::from(predicted && truth);
            predictions += usize::from(predicted);
            rows += usize::from(truth);
        }
        Self {
            label: label.to_owned(),
            rows,
            precision: fraction(right, predictions),
            recall: fraction(right, rows),
            f1: fraction(2 * right, rows + predictions),
        }
    }
}

/// The fraction that a part is of a whole; 0 if the whole is empty.
pub(crate) fn fraction(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_is_counted() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let evaluation = Evaluation::compute(&names, &[0, 0, 1, 2], &[0, 1, 1, 1]);
        assert_eq!((evaluation.accuracy, evaluation.majority_accuracy), (0.5, 0.75));
        assert_eq!(evaluation.labels.len(), 2, "c has no rows");
        let (a, b) = (&evaluation.labels[0], &evaluation.labels[1]);
        assert_eq!((a.precision, a.recall, a.f1), (0.5, 1.0, 2.0 / 3.0));
        assert_eq!((b.precision, b.recall, b.f1), (1.0, 1.0 / 3.0, 0.5));
        assert!((evaluation.macro_f1 - (2.0 / 3.0 + 0.5) / 2.0).abs() < 1e-12);
    }

    #[test]
    fn without_rows_there_is_no_agreement() {
        assert_eq!(Evaluation::compute(&["a".to_owned()], &[], &[]).accuracy, 0.0);
    }
}

//! The confusion matrix: which labels are predicted for which.

use serde::Serialize;

/// How often each label was predicted for each true label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// The labels that are true or predicted at least once.
    pub labels: Vec<String>,
    /// Numbers of rows, by true label and then by predicted label, in the order of `labels`.
    pub counts: Vec<Vec<usize>>,
}

impl Confusion {
    /// Compares predicted with true labels, which are indices of `names`.
    #[must_use]
    pub fn compute(names: &[String], predicted: &[i64], truth: &[i64]) -> Self {
        let used: Vec<_> = names
            .iter()
            .zip(0i64..)
            .filter(|(_, label)| predicted.contains(label) || truth.contains(label))
            .collect();
        let count = |true_label: i64, predicted_label: i64| {
            predicted.iter().zip(truth).filter(|&(&p, &t)| p == predicted_label && t == true_label).count()
        };
        Self {
            labels: used.iter().map(|(name, _)| (*name).clone()).collect(),
            counts: used
                .iter()
                .map(|&(_, row)| used.iter().map(|&(_, column)| count(row, column)).collect())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predictions_are_counted_by_true_label() {
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        let confusion = Confusion::compute(&names, &[0, 0, 1, 2], &[0, 1, 1, 1]);
        assert_eq!(confusion.labels, ["a", "b", "c"], "d is neither true nor predicted");
        assert_eq!(confusion.counts, [[1, 0, 0], [1, 1, 1], [0, 0, 0]]);
    }
}

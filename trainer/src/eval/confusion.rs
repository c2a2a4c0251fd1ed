//! Which labels are taken for which.

use serde::Serialize;

/// How often each label was answered for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// The labels that are true or answered at least once.
    pub labels: Vec<String>,
    /// By true label, then by answered label, in the labels' order.
    pub counts: Vec<Vec<usize>>,
}

impl Confusion {
    /// Compares answers with true labels; both are indices of `names`.
    #[must_use]
    pub fn new(names: &[String], predicted: &[i64], truth: &[i64]) -> Self {
        let used: Vec<_> = names
            .iter()
            .zip(0i64..)
            .filter(|(_, label)| predicted.contains(label) || truth.contains(label))
            .collect();
        let count = |is: i64, answered: i64| {
            predicted.iter().zip(truth).filter(|&(&p, &t)| p == answered && t == is).count()
        };
        Self {
            labels: used.iter().map(|(name, _)| (*name).clone()).collect(),
            counts: used
                .iter()
                .map(|&(_, is)| used.iter().map(|&(_, answered)| count(is, answered)).collect())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_truth() {
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        let confusion = Confusion::new(&names, &[0, 0, 1, 2], &[0, 1, 1, 1]);
        assert_eq!(confusion.labels, ["a", "b", "c"], "d is neither true nor predicted");
        assert_eq!(confusion.counts, [[1, 0, 0], [1, 1, 1], [0, 0, 0]]);
    }
}

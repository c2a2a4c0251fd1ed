//! Agreement of several labels a text.

use serde::Serialize;

use crate::eval::{LabelEvaluation, share};

/// Agreement of several labels; one is answered if its probability is at least a half.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tags {
    /// Number of rows.
    pub rows: usize,
    /// F1 of all answers together.
    pub micro_f1: f64,
    /// Each label.
    pub labels: Vec<LabelEvaluation>,
}

impl Tags {
    /// Compares logits with truths, 0 or 1; both are a vector for each label.
    pub(super) fn new(names: &[String], logits: &[Vec<f32>], truth: &[Vec<f32>]) -> Self {
        let (mut right, mut given) = (0, 0);
        let mut labels = Vec::new();
        for ((name, logits), truth) in names.iter().zip(logits).zip(truth) {
            let answers = logits.iter().map(|logit| *logit >= 0.0);
            let pairs: Vec<_> = answers.zip(truth.iter().map(|truth| *truth > 0.5)).collect();
            right += pairs.iter().filter(|(answer, truth)| *answer && *truth).count();
            given +=
                pairs.iter().map(|(answer, truth)| usize::from(*answer) + usize::from(*truth)).sum::<usize>();
            labels.push(LabelEvaluation::of(name, pairs));
        }
        Self { rows: truth.first().map_or(0, Vec::len), micro_f1: share(2 * right, given), labels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_labels_are_counted_together_and_each() {
        let names = ["a", "b"].map(str::to_owned);
        let logits = [vec![1.0, -1.0], vec![1.0, 1.0]];
        let tags = Tags::new(&names, &logits, &[vec![1.0, 1.0], vec![1.0, 0.0]]);
        assert_eq!((tags.rows, tags.micro_f1), (2, 4.0 / 6.0));
        assert_eq!((tags.labels[0].rows, tags.labels[0].f1), (2, 2.0 / 3.0));
    }
}

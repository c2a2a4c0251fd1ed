//! The quality of a head that predicts any number of labels for each text.

use serde::Serialize;

use crate::eval::{LabelEvaluation, fraction};

/// The quality of a head that predicts each label whose probability is at least one half.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MultiLabelQuality {
    /// The number of rows.
    pub rows: usize,
    /// F1 over all predictions together.
    pub micro_f1: f64,
    /// The agreement of each label.
    pub labels: Vec<LabelEvaluation>,
}

impl MultiLabelQuality {
    /// Compares logits with truths of 0 or 1. Both have a vector for each label.
    pub(super) fn compute(names: &[String], logits: &[Vec<f32>], truth: &[Vec<f32>]) -> Self {
        let (mut right, mut positives) = (0, 0);
        let mut labels = Vec::new();
        for ((name, logits), truth) in names.iter().zip(logits).zip(truth) {
            let predicted = logits.iter().map(|logit| *logit >= 0.0);
            let pairs: Vec<_> = predicted.zip(truth.iter().map(|truth| *truth > 0.5)).collect();
            right += pairs.iter().filter(|(predicted, truth)| *predicted && *truth).count();
            positives += pairs
                .iter()
                .map(|(predicted, truth)| usize::from(*predicted) + usize::from(*truth))
                .sum::<usize>();
            labels.push(LabelEvaluation::from_pairs(name, pairs));
        }
        Self { rows: truth.first().map_or(0, Vec::len), micro_f1: fraction(2 * right, positives), labels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_counted_together_and_each() {
        let names = ["a", "b"].map(str::to_owned);
        let logits = [vec![1.0, -1.0], vec![1.0, 1.0]];
        let quality = MultiLabelQuality::compute(&names, &logits, &[vec![1.0, 1.0], vec![1.0, 0.0]]);
        assert_eq!((quality.rows, quality.micro_f1), (2, 4.0 / 6.0));
        assert_eq!((quality.labels[0].rows, quality.labels[0].f1), (2, 2.0 / 3.0));
    }
}

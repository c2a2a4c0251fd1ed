//! The quality of a head that predicts a number for each dimension of a score.

use serde::Serialize;

use crate::eval::Dimension;
use crate::train::task::HeadTask;

/// The quality of a head that predicts a score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreQuality {
    /// The number of rows.
    pub rows: usize,
    /// The weighted mean of the dimensions, on rows whose numbers are all known.
    pub score: Dimension,
    /// Each dimension, on rows whose number is known.
    pub dimensions: Vec<Dimension>,
}

impl ScoreQuality {
    /// Compares predictions with true numbers, NaN where they are unknown. Both have a vector for each dimension.
    pub(super) fn compute(task: &HeadTask, predicted: &[Vec<f32>], truth: &[Vec<f32>]) -> Self {
        let rows = truth.first().map_or(0, Vec::len);
        let weights = task.dimension_weights();
        let score = |columns: &[Vec<f32>]| -> Vec<f32> {
            let terms = |row| {
                columns
                    .iter()
                    .zip(&weights)
                    .filter(|(_, weight)| **weight > 0.0)
                    .map(move |(column, weight)| column.get(row).copied().unwrap_or(f32::NAN) * weight)
            };
            (0..rows).map(|row| terms(row).sum()).collect()
        };
        let dimensions = task.labels.iter().zip(predicted).zip(truth);
        Self {
            rows,
            score: dimension("score", &score(predicted), &score(truth)),
            dimensions: dimensions
                .map(|((name, predicted), truth)| dimension(name, predicted, truth))
                .collect(),
        }
    }
}

/// Compares predictions of a dimension with the true numbers, where these are known.
fn dimension(name: &str, predicted: &[f32], truth: &[f32]) -> Dimension {
    let pairs = predicted.iter().zip(truth).filter(|(_, truth)| !truth.is_nan());
    let pairs: Vec<_> = pairs.map(|(predicted, truth)| (f64::from(*predicted), f64::from(*truth))).collect();
    Dimension::compute(name, &pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_numbers_do_not_count() {
        let dimension = dimension("x", &[0.1, 0.2, 0.9, 0.5], &[0.0, 0.3, 1.0, f32::NAN]);
        assert_eq!((dimension.rows, dimension.spearman), (3, Some(1.0)));
        assert!((dimension.mean_absolute_error - 0.1).abs() < 1e-6);
    }
}

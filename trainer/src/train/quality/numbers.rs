//! Agreement of numbers.

use serde::Serialize;

use crate::eval::Dimension;
use crate::train::task::HeadTask;

/// Agreement of numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreQuality {
    /// Number of rows.
    pub rows: usize,
    /// Of the mean of the dimensions, over the rows of which all are known.
    pub score: Dimension,
    /// Each dimension, over the rows of which it is known.
    pub dimensions: Vec<Dimension>,
}

impl ScoreQuality {
    pub(super) fn new(task: &HeadTask, numbers: &[Vec<f32>], truth: &[Vec<f32>]) -> Self {
        let rows = truth.first().map_or(0, Vec::len);
        let shares = task.shares();
        let score = |columns: &[Vec<f32>]| -> Vec<f32> {
            let of_row = |row| {
                columns
                    .iter()
                    .zip(&shares)
                    .filter(|(_, share)| **share > 0.0)
                    .map(move |(column, share)| column.get(row).copied().unwrap_or(f32::NAN) * share)
            };
            (0..rows).map(|row| of_row(row).sum()).collect()
        };
        let dimensions = task.labels.iter().zip(numbers).zip(truth);
        Self {
            rows,
            score: dimension("score", &score(numbers), &score(truth)),
            dimensions: dimensions.map(|((name, numbers), truth)| dimension(name, numbers, truth)).collect(),
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
    fn a_number_that_is_not_known_does_not_count() {
        let dimension = dimension("x", &[0.1, 0.2, 0.9, 0.5], &[0.0, 0.3, 1.0, f32::NAN]);
        assert_eq!((dimension.rows, dimension.spearman), (3, Some(1.0)));
        assert!((dimension.mean_absolute_error - 0.1).abs() < 1e-6);
    }
}

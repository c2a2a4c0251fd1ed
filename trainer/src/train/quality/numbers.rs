//! Agreement of numbers.

use serde::Serialize;

use crate::eval::spearman;
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

/// Agreement of one number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dimension {
    /// Its name.
    pub name: String,
    /// Rows of which it is known.
    pub rows: usize,
    /// Rank correlation; 0 if one side is always the same.
    pub spearman: f64,
    /// Mean distance.
    pub mean_absolute_error: f64,
    /// The same of always answering these rows' mean.
    pub of_the_mean: f64,
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
            score: Dimension::new("score", &score(numbers), &score(truth)),
            dimensions: dimensions
                .map(|((name, numbers), truth)| Dimension::new(name, numbers, truth))
                .collect(),
        }
    }
}

impl Dimension {
    fn new(name: &str, numbers: &[f32], truth: &[f32]) -> Self {
        let known: Vec<(f64, f64)> = numbers
            .iter()
            .zip(truth)
            .filter(|(_, truth)| !truth.is_nan())
            .map(|(number, truth)| (f64::from(*number), f64::from(*truth)))
            .collect();
        let (numbers, truth): (Vec<f64>, Vec<f64>) = known.iter().copied().unzip();
        let middle = mean(&truth);
        let distances: Vec<_> = known.iter().map(|(number, truth)| (number - truth).abs()).collect();
        let of_the_mean: Vec<_> = truth.iter().map(|truth| (truth - middle).abs()).collect();
        Self {
            name: name.to_owned(),
            rows: known.len(),
            spearman: spearman(&numbers, &truth).unwrap_or(0.0),
            mean_absolute_error: mean(&distances),
            of_the_mean: mean(&of_the_mean),
        }
    }
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_not_known_does_not_count() {
        let quality = Dimension::new("x", &[0.1, 0.2, 0.9, 0.5], &[0.0, 0.3, 1.0, f32::NAN]);
        assert_eq!((quality.rows, quality.spearman), (3, 1.0));
        assert!((quality.mean_absolute_error - 0.1).abs() < 1e-6);
        assert_eq!(Dimension::new("x", &[0.5, 0.5], &[0.0, 1.0]).spearman, 0.0);
    }
}

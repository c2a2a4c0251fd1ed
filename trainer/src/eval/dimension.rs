//! How well predictions of a number follow the true numbers.

use serde::Serialize;

use super::ranking::spearman;

/// How well predictions of one dimension, or of the score of several, follow the true numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dimension {
    /// The dimension's name.
    pub name: String,
    /// Rows whose true number is known.
    pub rows: usize,
    /// Spearman's rank correlation. None if the predictions or the true numbers are all the same.
    pub spearman: Option<f64>,
    /// The mean absolute error of the predictions.
    pub mean_absolute_error: f64,
    /// The mean absolute error of always predicting the mean of the true numbers.
    #[serde(rename = "of_the_mean")]
    pub mean_baseline_error: f64,
    /// The mean absolute error of always predicting their median, which is the best constant prediction.
    #[serde(rename = "baseline_error")]
    pub median_baseline_error: f64,
}

impl Dimension {
    /// Compares predictions with true numbers, which are pairs.
    #[must_use]
    pub fn compute(name: &str, pairs: &[(f64, f64)]) -> Self {
        let (predicted, truth): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let rows = pairs.len();
        let mean = |numbers: &mut dyn Iterator<Item = f64>| numbers.sum::<f64>() / rows.max(1) as f64;
        let mean_truth = mean(&mut truth.iter().copied());
        let mut sorted = truth.clone();
        sorted.sort_by(f64::total_cmp);
        let median_truth = sorted.get(rows / 2).copied().unwrap_or_default();
        Self {
            name: name.to_owned(),
            rows,
            spearman: spearman(&predicted, &truth),
            mean_absolute_error: mean(&mut pairs.iter().map(|(predicted, truth)| (predicted - truth).abs())),
            mean_baseline_error: mean(&mut truth.iter().map(|truth| (truth - mean_truth).abs())),
            median_baseline_error: mean(&mut truth.iter().map(|truth| (truth - median_truth).abs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_compared_with_those_of_constant_predictions() {
        let dimension = Dimension::compute("x", &[(0.1, 0.0), (0.2, 0.0), (0.4, 0.5), (0.8, 1.0)]);
        assert_eq!((dimension.name.as_str(), dimension.rows), ("x", 4));
        // Ranks 1 to 4, and 1.5, 1.5, 3, 4.
        assert!((dimension.spearman.unwrap() - 4.5 / 22.5f64.sqrt()).abs() < 1e-12, "{dimension:?}");
        let close = |is: f64, expected: f64| assert!((is - expected).abs() < 1e-12, "{dimension:?}");
        close(dimension.mean_absolute_error, (0.1 + 0.2 + 0.1 + 0.2) / 4.0);
        close(dimension.mean_baseline_error, (0.375 + 0.375 + 0.125 + 0.625) / 4.0);
        close(dimension.median_baseline_error, (0.5 + 0.5 + 0.0 + 0.5) / 4.0);
    }

    #[test]
    fn constant_predictions_have_no_rank_correlation() {
        assert_eq!(Dimension::compute("x", &[(0.5, 0.0), (0.5, 1.0)]).spearman, None);
        let empty = Dimension::compute("x", &[]);
        assert_eq!((empty.rows, empty.spearman, empty.mean_absolute_error), (0, None, 0.0));
    }
}

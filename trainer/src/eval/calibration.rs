//! Compares confidences with accuracy: of the predictions with a confidence of 80 %, are 80 % right?

use serde::Serialize;

/// The number of bins of equal width in which confidences are compared with accuracies.
pub const BINS: usize = 15;

/// How reliable confidences are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reliability {
    /// Expected calibration error: the difference between mean confidence and accuracy in each of [`BINS`] bins of equal
    /// width, averaged over all predictions (Guo et al. 2017, "On calibration of modern neural networks"). 0 is best.
    pub ece: f64,
    /// The bins that have predictions.
    pub bins: Vec<Bin>,
}

/// The predictions with a confidence above `from`, up to `to`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bin {
    /// The lower bound. It is excluded, unless it is 0.
    pub from: f64,
    /// The upper bound.
    pub to: f64,
    /// The number of predictions.
    pub rows: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// The fraction that are right.
    pub accuracy: f64,
}

impl Reliability {
    /// Measures predictions, each with its confidence from 0 to 1 and whether it was right.
    #[must_use]
    pub fn from_outcomes(outcomes: &[(f64, bool)]) -> Self {
        let fraction = |&(confidence, right)| (confidence, f64::from(u8::from(right)));
        Self::from_fractions(&outcomes.iter().map(fraction).collect::<Vec<_>>())
    }

    /// Measures predictions that can be partly right, such as scores: a confidence, and the fraction that is right.
    #[must_use]
    pub fn from_fractions(outcomes: &[(f64, f64)]) -> Self {
        let mut all = vec![(0usize, 0.0, 0.0); BINS];
        for &(confidence, right) in outcomes {
            let bin = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
            if let Some((rows, sum, rights)) = all.get_mut(bin) {
                *rows += 1;
                *sum += confidence;
                *rights += right;
            }
        }
        let bins: Vec<_> = all
            .into_iter()
            .enumerate()
            .filter(|(_, (rows, ..))| *rows > 0)
            .map(|(index, (rows, sum, rights))| Bin {
                from: index as f64 / BINS as f64,
                to: (index + 1) as f64 / BINS as f64,
                rows,
                confidence: sum / rows as f64,
                accuracy: rights / rows as f64,
            })
            .collect();
        let off = bins.iter().map(|bin| bin.rows as f64 * (bin.confidence - bin.accuracy).abs());
        Self { ece: off.sum::<f64>() / outcomes.len().max(1) as f64, bins }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_the_gap_of_each_bin_weighted_by_its_rows() {
        // Bins of 1/15: 0.6 is the upper bound of the ninth, 0.61 is in the tenth, as is 0.65.
        let reliability = Reliability::from_outcomes(&[
            (0.6, true),
            (0.61, true),
            (0.65, false),
            (1.0, true),
            (0.0, false),
        ]);
        let bins: Vec<_> =
            reliability.bins.iter().map(|bin| (bin.rows, bin.confidence, bin.accuracy)).collect();
        assert_eq!(bins, [(1, 0.0, 0.0), (1, 0.6, 1.0), (2, 0.63, 0.5), (1, 1.0, 1.0)]);
        // (1 · 0 + 1 · 0.4 + 2 · 0.13 + 1 · 0) / 5
        assert!((reliability.ece - 0.132).abs() < 1e-12, "{}", reliability.ece);
    }

    #[test]
    fn confidences_that_match_the_accuracy_have_no_error() {
        let outcomes: Vec<_> = (0..10).map(|row| (0.7, row < 7)).collect();
        assert!(Reliability::from_outcomes(&outcomes).ece < 1e-12);
        assert!(Reliability::from_fractions(&[(0.7, 0.6), (0.7, 0.8)]).ece < 1e-12);
        assert_eq!(Reliability::from_outcomes(&[]).ece, 0.0);
    }
}

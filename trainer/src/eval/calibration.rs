//! Whether confidences are what they say: of the answers given with 80 %, are 80 % right?

use serde::Serialize;

/// Number of bins of equal width in which confidences are compared with what is right.
pub const BINS: usize = 15;

/// How far confidences are off.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reliability {
    /// Expected calibration error: the mean over all answers of how far mean confidence and share of right answers of
    /// the answer's bin lie apart, in [`BINS`] bins of equal width (Guo et al. 2017, "On calibration of modern neural
    /// networks"). 0 is best.
    pub ece: f64,
    /// The bins that have answers.
    pub bins: Vec<Bin>,
}

/// The answers given with a confidence above `from`, up to `to`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bin {
    /// The lower bound, not included, except for 0.
    pub from: f64,
    /// The upper bound.
    pub to: f64,
    /// Number of answers.
    pub rows: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// The share of them that is right.
    pub accuracy: f64,
}

impl Reliability {
    /// Of answers, each with its confidence of 0 to 1, and whether it was right.
    #[must_use]
    pub fn of(answers: &[(f64, bool)]) -> Self {
        let share = |&(confidence, right)| (confidence, f64::from(u8::from(right)));
        Self::of_shares(&answers.iter().map(share).collect::<Vec<_>>())
    }

    /// The same where answers can be right in part, 0 to 1, as scores are.
    #[must_use]
    pub fn of_shares(answers: &[(f64, f64)]) -> Self {
        let mut all = vec![(0usize, 0.0, 0.0); BINS];
        for &(confidence, right) in answers {
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
        Self { ece: off.sum::<f64>() / answers.len().max(1) as f64, bins }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_the_gap_of_each_bin_by_its_rows() {
        // Bins of 1/15: 0.6 is the upper bound of the ninth, 0.61 is in the tenth, as is 0.65.
        let reliability =
            Reliability::of(&[(0.6, true), (0.61, true), (0.65, false), (1.0, true), (0.0, false)]);
        let bins: Vec<_> =
            reliability.bins.iter().map(|bin| (bin.rows, bin.confidence, bin.accuracy)).collect();
        assert_eq!(bins, [(1, 0.0, 0.0), (1, 0.6, 1.0), (2, 0.63, 0.5), (1, 1.0, 1.0)]);
        // (1 · 0 + 1 · 0.4 + 2 · 0.13 + 1 · 0) / 5
        assert!((reliability.ece - 0.132).abs() < 1e-12, "{}", reliability.ece);
    }

    #[test]
    fn right_as_often_as_said_is_no_error() {
        let answers: Vec<_> = (0..10).map(|row| (0.7, row < 7)).collect();
        assert!(Reliability::of(&answers).ece < 1e-12);
        assert!(Reliability::of_shares(&[(0.7, 0.6), (0.7, 0.8)]).ece < 1e-12);
        assert_eq!(Reliability::of(&[]).ece, 0.0);
    }
}

//! A router that ranks graded prompts by a score, and the results of its thresholds on samples of them.

use crate::eval::tradeoff::{self, GradedRow, StrongWhen, ThresholdPoint};
use crate::eval::{Grades, RoutingQuality, by_length, grades, need};

/// A router by a score.
#[derive(Debug, Clone)]
pub(super) struct Ranking {
    rows: Vec<GradedRow>,
    /// Which scores go to the strong model.
    when: StrongWhen,
}

impl Ranking {
    /// By the score of a head: how likely the weak model suffices.
    pub(super) fn by_head(rows: Vec<GradedRow>) -> Self {
        Self { rows, when: StrongWhen::Low }
    }

    /// By prompt length, in the direction that is better on these rows. This favours length a little, so that a head that is
    /// better than it is better for another reason.
    pub(super) fn by_length(rows: &[GradedRow], lengths: &[f64]) -> Self {
        let all: Vec<_> = (0..rows.len()).collect();
        let longest_first = Self { rows: by_length(rows, lengths), when: StrongWhen::High };
        let shortest_first = Self { when: StrongWhen::Low, ..longest_first.clone() };
        match longest_first.apgr(&all) >= shortest_first.apgr(&all) {
            true => longest_first,
            false => shortest_first,
        }
    }

    /// Which scores go to the strong model.
    pub(super) fn when(&self) -> StrongWhen {
        self.when
    }

    /// The rows of a sample.
    pub(super) fn sample(&self, rows: &[usize]) -> Vec<GradedRow> {
        rows.iter().filter_map(|&row| self.rows.get(row)).copied().collect()
    }

    /// The average performance gap recovered; none if the strong model is not better on the sample.
    pub(super) fn apgr(&self, rows: &[usize]) -> Option<f64> {
        let sample = self.sample(rows);
        Some(RoutingQuality::compute(&need(&sample, self.when), &grades(&sample))?.apgr)
    }

    /// The results of thresholds on a sample, by rising fraction of strong calls.
    pub(super) fn sweep(&self, rows: &[usize]) -> Vec<ThresholdPoint> {
        tradeoff::sweep(&self.sample(rows), self.when)
    }

    /// The threshold with the fewest strong calls that keeps a fraction of the strong model's quality.
    pub(super) fn keeping(&self, rows: &[usize], quality: f64) -> Option<ThresholdPoint> {
        tradeoff::with_quality(&self.sweep(rows), quality).copied()
    }

    /// Whether each row goes to the strong model by the threshold that keeps this quality on the rows of all
    /// other folds. So no row influences its own threshold.
    pub(super) fn held_out_choices(&self, folds: &[usize], quality: f64) -> Option<Vec<bool>> {
        let mut choices = vec![false; self.rows.len()];
        let last = folds.iter().max()?;
        for fold in 0..=*last {
            let rows = |inside: bool| {
                let of_fold = folds.iter().enumerate().filter(move |(_, it)| (**it == fold) == inside);
                of_fold.map(|(row, _)| row).collect::<Vec<_>>()
            };
            let threshold = self.keeping(&rows(false), quality)?.threshold;
            for row in rows(true) {
                let (choice, graded) = (choices.get_mut(row)?, self.rows.get(row)?);
                *choice = (graded.score <= threshold) == (self.when == StrongWhen::Low);
            }
        }
        Some(choices)
    }
}

/// The results of a choice between the models on a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Outcome {
    /// The fraction of strong calls.
    pub(super) strong_fraction: f64,
    /// The mean grade.
    pub(super) quality: f64,
    /// The mean grade as a fraction of the strong model's.
    pub(super) kept: f64,
    /// The fraction of the gap between both models that is recovered.
    pub(super) recovered: f64,
    /// The mean cost.
    pub(super) cost: f64,
}

impl Outcome {
    /// The outcome for rows and whether each goes to the strong model; none if the strong model is not better on them.
    pub(super) fn compute(rows: &[(GradedRow, bool)]) -> Option<Self> {
        let count = rows.len() as f64;
        let mean = |of: &dyn Fn(&(GradedRow, bool)) -> f64| rows.iter().map(of).sum::<f64>() / count;
        let chosen = |(row, strong): &(GradedRow, bool)| if *strong { row.strong } else { row.weak };
        let quality = mean(&|row| chosen(row).quality);
        let (weak, strong) = (mean(&|(row, _)| row.weak.quality), mean(&|(row, _)| row.strong.quality));
        (strong > weak).then(|| Self {
            strong_fraction: mean(&|(_, strong)| f64::from(u8::from(*strong))),
            quality,
            kept: quality / strong,
            recovered: (quality - weak) / (strong - weak),
            cost: mean(&|row| chosen(row).cost),
        })
    }
}

/// The fraction of strong calls at random that keeps a fraction of the strong model's quality; none if the strong model is not
/// better.
pub(super) fn random_keeping(Grades { weak, strong }: Grades, quality: f64) -> Option<f64> {
    (strong > weak).then(|| ((quality * strong - weak) / (strong - weak)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::mean_grades;
    use crate::eval::tradeoff::tests::rows;

    fn four() -> Vec<GradedRow> {
        rows(&[(0.1, 0.0, 1.0), (0.2, 0.0, 1.0), (0.8, 1.0, 1.0), (0.9, 1.0, 0.5)])
    }

    #[test]
    fn outcomes_match_a_calculation_by_hand() {
        let choices = [true, false, false, true];
        let chosen: Vec<_> = four().into_iter().zip(choices).collect();
        let found = Outcome::compute(&chosen).unwrap();
        // Grades 1, 0, 1, 0.5; the models' means are 0.5 and 0.875.
        assert_eq!((found.strong_fraction, found.quality, found.cost), (0.5, 0.625, 3.0));
        assert!((found.kept - 0.625 / 0.875).abs() < 1e-12 && (found.recovered - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(mean_grades(&four()), Grades { weak: 0.5, strong: 0.875 });
    }

    #[test]
    fn random_calls_are_on_the_line_between_the_models() {
        let grades = Grades { weak: 0.5, strong: 1.0 };
        assert_eq!(random_keeping(grades, 0.75), Some(0.5));
        assert_eq!(random_keeping(grades, 0.4), Some(0.0), "the weak model alone keeps more");
        assert_eq!(random_keeping(Grades { weak: 1.0, strong: 1.0 }, 0.5), None);
    }

    #[test]
    fn the_better_direction_of_length_is_taken() {
        // Short prompts need the strong model.
        let rows = rows(&[(0.5, 0.0, 1.0), (0.5, 0.0, 1.0), (0.5, 1.0, 1.0), (0.5, 1.0, 1.0)]);
        let (rising, falling) = (
            Ranking::by_length(&rows, &[1.0, 2.0, 3.0, 4.0]),
            Ranking::by_length(&rows, &[4.0, 3.0, 2.0, 1.0]),
        );
        assert_eq!((rising.when(), falling.when()), (StrongWhen::Low, StrongWhen::High));
        let all = [0, 1, 2, 3];
        assert_eq!(rising.apgr(&all), falling.apgr(&all));
        assert_eq!(rising.keeping(&all, 1.0).unwrap().strong_fraction, 0.5);
    }

    #[test]
    fn a_row_does_not_influence_its_own_threshold() {
        let ranking = Ranking::by_head(four());
        // Whichever row is left out, the others need strong calls up to 0.1 or 0.2, and none from 0.8 on.
        assert_eq!(ranking.held_out_choices(&[0, 1, 2, 3], 1.0).unwrap(), [true, true, false, false]);
        // Rows 0 and 1 alone need strong calls for all, so rows 2 and 3, which do not, get them, too.
        assert_eq!(ranking.held_out_choices(&[0, 0, 1, 1], 0.9).unwrap()[2..], [true, true]);
    }
}

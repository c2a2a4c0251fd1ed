//! The regularisation of heads, chosen on the rows that they leave out.

use anyhow::{Context, Result};

use crate::train::report::{L2_FOR_SCORES, Trial, TrialSettings};
use crate::train::weighting::ClassWeights;

/// The results of settings on two folds, with a head that was fitted to all others.
pub(super) struct PairTrial {
    pub(super) settings: TrialSettings,
    pub(super) folds: [usize; 2],
    /// The mean loss on each of the two.
    pub(super) losses: [f64; 2],
    /// The rank correlation, averaged over the two.
    pub(super) main_metric: f64,
}

impl Selection {
    /// The settings to try.
    pub(super) fn settings() -> [TrialSettings; L2_FOR_SCORES.len()] {
        L2_FOR_SCORES.map(|l2| TrialSettings { l2, class_weights: ClassWeights::Uniform })
    }
}

impl PairTrial {
    fn mean_loss(&self) -> f64 {
        let [first, second] = self.losses;
        f64::midpoint(first, second)
    }
}

/// All settings on all pairs of folds.
pub(super) struct Selection(pub(super) Vec<PairTrial>);

impl Selection {
    /// The settings with the lowest loss. With `without`, they are those for heads that leave out this fold,
    /// and its rows have no influence.
    pub(super) fn best(&self, without: Option<usize>) -> Result<TrialSettings> {
        let losses = L2_FOR_SCORES.map(|l2| {
            let of_settings = self.0.iter().filter(|trial| trial.settings.l2 == l2);
            let losses = of_settings.flat_map(|trial| {
                let [first, second] = trial.folds;
                let [on_first, on_second] = trial.losses;
                match without {
                    Some(fold) if fold == first => vec![on_second],
                    Some(fold) if fold == second => vec![on_first],
                    Some(_) => Vec::new(),
                    None => vec![on_first, on_second],
                }
            });
            (l2, losses.sum::<f64>())
        });
        let best = losses.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).context("no settings to try")?;
        Ok(TrialSettings { l2: best.0, class_weights: ClassWeights::Uniform })
    }

    /// All settings with their mean results.
    pub(super) fn trials(&self) -> Vec<Trial> {
        let trial = |l2| {
            let of_settings: Vec<_> = self.0.iter().filter(|trial| trial.settings.l2 == l2).collect();
            let count = of_settings.len().max(1) as f64;
            Trial {
                settings: TrialSettings { l2, class_weights: ClassWeights::Uniform },
                log_loss: of_settings.iter().map(|trial| trial.mean_loss()).sum::<f64>() / count,
                main_metric: of_settings.iter().map(|trial| trial.main_metric).sum::<f64>() / count,
            }
        };
        L2_FOR_SCORES.map(trial).into()
    }
}

//! The course of a training.

use serde::{Deserialize, Serialize};

use super::settings::FineTuneSettings;

/// One pass over the data. The epoch before the first is the encoder before training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Mean loss of the steps.
    pub loss: f64,
    /// The mean of the heads' main metrics on the validation rows. The epoch with the highest is the best one.
    pub score: f64,
    /// Each head's main metric, in the plan's order.
    pub heads: Vec<f64>,
}

/// Why a training stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// All epochs are done.
    Done,
    /// The score had not improved for `patience` epochs.
    NoBetter,
    /// The time budget was spent.
    TimeBudget,
    /// Ctrl-C.
    Interrupted,
}

impl StopReason {
    /// Whether there is nothing left to continue.
    pub(in crate::train) fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::NoBetter)
    }

    /// The reason in words.
    pub(in crate::train) fn description(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NoBetter => "stopped since validation did not improve",
            Self::TimeBudget => "stopped by the time budget",
            Self::Interrupted => "interrupted",
        }
    }
}

/// The course of a training.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct History {
    /// The settings.
    #[serde(flatten)]
    pub settings: FineTuneSettings,
    /// Where it ran, and in which precision.
    pub device: String,
    /// libtorch's threads.
    pub threads: usize,
    /// The number of trained parameters.
    pub parameters: usize,
    /// Steps of the optimiser.
    pub steps: usize,
    /// Seconds of training.
    pub seconds: f64,
    /// Why it stopped.
    #[serde(rename = "ended")]
    pub stop_reason: StopReason,
    /// The epochs. The first is the encoder before training.
    pub epochs: Vec<Epoch>,
}

/// The best score so far.
pub(super) fn best_score(epochs: &[Epoch]) -> f64 {
    epochs.iter().map(|epoch| epoch.score).fold(f64::NEG_INFINITY, f64::max)
}

/// The number of epochs since the best one.
pub(super) fn epochs_since_best(epochs: &[Epoch]) -> usize {
    let best = best_score(epochs);
    epochs.iter().rev().take_while(|epoch| epoch.score < best).count()
}

//! How a training went.

use serde::{Deserialize, Serialize};

use super::settings::Settings;

/// One pass over the data; the 0th is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Mean loss of the steps.
    pub loss: f64,
    /// The mean of the heads' figures on the choosing rows, by which the best epoch is chosen.
    pub score: f64,
    /// Each head's, in the plan's order.
    pub heads: Vec<f64>,
}

/// Why a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// After the last epoch.
    Done,
    /// The score had not become better for too many epochs.
    NoBetter,
    /// The time was up.
    TimeBudget,
    /// By Ctrl-C.
    Interrupted,
}

impl Ended {
    /// In words.
    pub(in crate::train) fn why(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NoBetter => "stopped since validation got no better",
            Self::TimeBudget => "ended by the time budget",
            Self::Interrupted => "interrupted",
        }
    }
}

/// How a training went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct History {
    /// The settings.
    #[serde(flatten)]
    pub settings: Settings,
    /// Where it ran, and in which precision.
    pub device: String,
    /// Threads of libtorch.
    pub threads: usize,
    /// Numbers that were trained.
    pub parameters: usize,
    /// Steps of the optimiser.
    pub steps: usize,
    /// How long it took.
    pub seconds: f64,
    /// Why it ended.
    pub ended: Ended,
    /// The epochs; the first is the encoder as it was.
    pub epochs: Vec<Epoch>,
}

/// The best score so far.
pub(super) fn best(epochs: &[Epoch]) -> f64 {
    epochs.iter().map(|epoch| epoch.score).fold(f64::NEG_INFINITY, f64::max)
}

/// Epochs since the best.
pub(super) fn no_better(epochs: &[Epoch]) -> usize {
    let best = best(epochs);
    epochs.iter().rev().take_while(|epoch| epoch.score < best).count()
}

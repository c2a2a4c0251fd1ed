//! What is known of a trained head; `metrics.json` is this, and the model card is written from it.

use serde::Serialize;

use super::data::Data;
use super::weighting::ClassWeights;
use crate::eval::Evaluation;

/// How a head was made, and how good it is.
#[derive(Debug, PartialEq, Serialize)]
pub struct Report {
    /// The head's name.
    pub head: String,
    /// The encoder layer that it reads.
    pub layer: usize,
    /// The split's seed.
    pub seed: u64,
    /// The files and folders of the data, with the number of rows used.
    pub sources: Vec<SourceRows>,
    /// How the rows were divided.
    pub split: SplitSizes,
    /// The settings chosen.
    pub settings: Settings,
    /// On the held-out rows of all sources.
    pub held_out: Evaluation,
    /// On the held-out rows of each source.
    pub held_out_by_source: Vec<SourceEvaluation>,
    /// On what was given for validation only.
    pub validation: Vec<SourceEvaluation>,
    /// All settings tried, with what they scored on the choosing rows.
    pub trials: Vec<Trial>,
}

/// What is chosen by trial.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Settings {
    /// Factor of the squared weights in the loss.
    pub l2: f64,
    /// How labels are weighted.
    pub class_weights: ClassWeights,
}

impl Settings {
    /// The settings that are tried.
    #[must_use]
    pub fn grid() -> Vec<Self> {
        let mut grid = Vec::new();
        for class_weights in [ClassWeights::Uniform, ClassWeights::SquareRoot, ClassWeights::Balanced] {
            for l2 in [3e-6, 1e-5, 3e-5, 1e-4] {
                grid.push(Self { l2, class_weights });
            }
        }
        grid
    }
}

/// A file or folder of data.
#[derive(Debug, PartialEq, Serialize)]
pub struct SourceRows {
    /// Its path.
    pub source: String,
    /// Rows used: each text once.
    pub rows: usize,
}

/// Number of rows in each part.
#[derive(Debug, PartialEq, Serialize)]
pub struct SplitSizes {
    /// Rows that the weights were fitted to.
    pub fit: usize,
    /// Rows that chose the settings.
    pub choose: usize,
    /// Rows held out for the report.
    pub held_out: usize,
}

/// How good the head is on a source.
#[derive(Debug, PartialEq, Serialize)]
pub struct SourceEvaluation {
    /// Its path.
    pub source: String,
    /// Agreement on its rows.
    #[serde(flatten)]
    pub evaluation: Evaluation,
}

/// Settings, and what they scored on the choosing rows.
#[derive(Debug, PartialEq, Serialize)]
pub struct Trial {
    /// The settings.
    #[serde(flatten)]
    pub settings: Settings,
    /// Log loss, rows weighted by source: by this they are chosen, since confidences must be right too.
    pub log_loss: f64,
    /// Accuracy.
    pub accuracy: f64,
    /// Macro-F1.
    pub macro_f1: f64,
}

/// The data's sources with their numbers of rows.
pub(super) fn rows_by_source(data: &Data) -> Vec<SourceRows> {
    let rows = |index| data.rows.iter().filter(|row| row.source == index).count();
    data.sources
        .iter()
        .enumerate()
        .map(|(index, path)| SourceRows { source: path.display().to_string(), rows: rows(index) })
        .collect()
}

//! What is known of a trained head; `metrics.json` is this, and the model card is written from it.

use anyhow::Result;
use serde::Serialize;
use tch::Tensor;

use super::data::Data;
use super::fine_tune::{History, TrainedHead};
use super::plan::Kind;
use super::quality::Quality;
use super::task::HeadTask;
use super::weighting::ClassWeights;
use llm_router_classifier::model::text_features::ScaledFeature;

/// The file with a head's report.
pub(super) const FILE: &str = "metrics.json";

/// How a head was made, and how good it is.
#[derive(Debug, PartialEq, Serialize)]
pub struct Report {
    /// The head's name.
    pub head: String,
    /// What it answers.
    pub kind: Kind,
    /// The encoder layer that it reads.
    pub layer: usize,
    /// What is counted in the text and joins it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<ScaledFeature>,
    /// The split's seed.
    pub seed: u64,
    /// The files and folders of the data, with the number of rows used.
    pub sources: Vec<SourceRows>,
    /// How the rows were divided.
    pub split: SplitSizes,
    /// How it was trained.
    pub training: How,
    /// On the held-out rows of all sources, if any were held out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<Quality>,
    /// On the held-out rows of each source.
    pub held_out_by_source: Vec<SourceQuality>,
    /// On what was given for validation only.
    pub validation: Vec<SourceQuality>,
}

/// How a head was trained.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum How {
    /// Alone, on the encoder as it is.
    Head {
        /// The settings chosen.
        settings: TrialSettings,
        /// All settings tried, with what they scored on the choosing rows.
        trials: Vec<Trial>,
    },
    /// Together with the encoder.
    FineTuned(Box<History>),
}

/// What is chosen by trial.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TrialSettings {
    /// Factor of the squared weights in the loss.
    pub l2: f64,
    /// How labels are weighted.
    pub class_weights: ClassWeights,
}

impl TrialSettings {
    /// The settings that are tried; weights only if a row has one label.
    #[must_use]
    pub fn grid(one_label: bool) -> Vec<Self> {
        let all = [ClassWeights::Uniform, ClassWeights::SquareRoot, ClassWeights::Balanced];
        let mut grid = Vec::new();
        for class_weights in all.into_iter().take(if one_label { 3 } else { 1 }) {
            for l2 in [3e-6, 1e-5, 3e-5, 1e-4, 3e-4] {
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
pub struct SourceQuality {
    /// Its path.
    pub source: String,
    /// Agreement on its rows.
    #[serde(flatten)]
    pub quality: Quality,
}

/// Settings, and what they scored on the choosing rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// The settings.
    #[serde(flatten)]
    pub settings: TrialSettings,
    /// Mean loss, rows weighted by source: by this they are chosen, since confidences must be right too.
    pub log_loss: f64,
    /// Accuracy, or micro-F1 of several labels, or Spearman of a score.
    pub figure: f64,
}

impl Report {
    pub(super) fn new(task: &HeadTask, head: &TrainedHead, seed: u64, training: How) -> Result<Self> {
        let HeadTask { data, validation, split, .. } = task;
        let held_out: Vec<_> = split.held_out.iter().filter_map(|&row| data.rows.get(row)).collect();
        let targets = task.targets_of(&split.held_out)?;
        let sources: Vec<_> = held_out.iter().map(|row| row.source).collect();
        let all: Vec<_> = validation.rows.iter().map(|row| row.source).collect();
        let held_out_quality = match held_out.is_empty() {
            true => None,
            false => Some(Quality::of(task, &head.held_out, &targets)?),
        };
        Ok(Self {
            head: task.name().to_owned(),
            kind: task.kind(),
            layer: head.reads.layer,
            features: head.reads.features.clone(),
            seed,
            sources: rows_by_source(data),
            split: SplitSizes { fit: split.fit.len(), choose: split.choose.len(), held_out: held_out.len() },
            training,
            held_out: held_out_quality,
            held_out_by_source: by_source(task, data, &sources, &head.held_out, &targets)?,
            validation: by_source(
                task,
                validation,
                &all,
                &head.validation,
                &task.targets(&validation.rows)?,
            )?,
        })
    }
}

/// Evaluates each source's rows; sources with no rows are left out.
fn by_source(
    task: &HeadTask,
    data: &Data,
    sources: &[usize],
    logits: &Tensor,
    targets: &Tensor,
) -> Result<Vec<SourceQuality>> {
    let mut qualities = Vec::new();
    for (index, path) in data.sources.iter().enumerate() {
        let rows: Vec<_> =
            (0i64..).zip(sources).filter(|(_, source)| **source == index).map(|(row, _)| row).collect();
        if !rows.is_empty() {
            let rows = Tensor::f_from_slice(&rows)?;
            let quality =
                Quality::of(task, &logits.f_index_select(0, &rows)?, &targets.f_index_select(0, &rows)?)?;
            qualities.push(SourceQuality { source: path.display().to_string(), quality });
        }
    }
    Ok(qualities)
}

/// The data's sources with their numbers of rows.
fn rows_by_source(data: &Data) -> Vec<SourceRows> {
    let rows = |index| data.rows.iter().filter(|row| row.source == index).count();
    data.sources
        .iter()
        .enumerate()
        .map(|(index, path)| SourceRows { source: path.display().to_string(), rows: rows(index) })
        .collect()
}

//! The report on a trained head. `metrics.json` is its JSON, and the model card is written from it.

use anyhow::Result;
use serde::Serialize;
use tch::Tensor;

use super::data::Data;
use super::fine_tune::History;
use super::plan::HeadKind;
use super::quality::Quality;
use super::task::HeadTask;
use super::trained::TrainedHead;
use super::weighting::ClassWeights;
use llm_router_classifier::model::text_features::ScaledFeature;

/// The file with a head's report.
pub(super) const FILE: &str = "metrics.json";

/// How a head was trained, and how good it is.
#[derive(Debug, PartialEq, Serialize)]
pub struct TrainingReport {
    /// The head's name.
    pub head: String,
    /// What it predicts.
    pub kind: HeadKind,
    /// The encoder layer that it reads.
    pub layer: usize,
    /// The text features that join the layer's vector.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<ScaledFeature>,
    /// The seed of the split.
    pub seed: u64,
    /// The files and folders of the data, with the number of rows used.
    pub sources: Vec<SourceRows>,
    /// How the rows were divided.
    pub split: SplitSizes,
    /// How it was trained.
    pub training: TrainingDetails,
    /// Quality on the test rows of all sources, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<Quality>,
    /// Quality on the test rows of each source.
    pub held_out_by_source: Vec<SourceQuality>,
    /// Quality on the external validation data, by source.
    pub validation: Vec<SourceQuality>,
}

/// How a head was trained.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum TrainingDetails {
    /// Alone, on the frozen encoder.
    Head {
        /// The chosen settings.
        settings: TrialSettings,
        /// All settings tried, with their results on the validation rows or, for a score, their mean results on the folds.
        trials: Vec<Trial>,
    },
    /// Alone, on the frozen encoder, with figures by cross-fitting.
    CrossFitted {
        /// The chosen settings.
        settings: TrialSettings,
        /// The number of folds.
        folds: usize,
        /// All settings tried, with their mean results on the rows of all folds.
        trials: Vec<Trial>,
    },
    /// Together with the encoder.
    FineTuned(Box<History>),
}

/// The factors of the squared weights that are tried for labels.
const L2_FOR_LABELS: [f64; 5] = [3e-6, 1e-5, 3e-5, 1e-4, 3e-4];
/// The same for scores. Grades are so noisy that a head with small factors learns the noise, and ranks other prompts worse than
/// their length does.
pub(super) const L2_FOR_SCORES: [f64; 8] = [1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1];

/// Settings that are chosen by trial.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TrialSettings {
    /// The factor of the squared weights in the loss.
    pub l2: f64,
    /// How labels are weighted.
    pub class_weights: ClassWeights,
}

impl TrialSettings {
    /// The settings to try. Class weights vary only if each row has one label.
    #[must_use]
    pub fn grid(kind: HeadKind) -> Vec<Self> {
        let all = [ClassWeights::Uniform, ClassWeights::SquareRoot, ClassWeights::Balanced];
        let (class_weights, l2) = match kind {
            HeadKind::SingleLabel => (&all[..], &L2_FOR_LABELS[..]),
            HeadKind::MultiLabel => (&all[..1], &L2_FOR_LABELS[..]),
            HeadKind::Score => (&all[..1], &L2_FOR_SCORES[..]),
        };
        let with = |&class_weights| l2.iter().map(move |&l2| Self { l2, class_weights });
        class_weights.iter().flat_map(with).collect()
    }
}

/// The number of rows of a source.
#[derive(Debug, PartialEq, Serialize)]
pub struct SourceRows {
    /// The path of the file or folder.
    pub source: String,
    /// Rows used. Each text is used once.
    pub rows: usize,
}

/// The number of rows in each part of the split. With cross-fitting, all rows are in two parts; a score on the frozen encoder is
/// fitted to the first two, which choose its settings by cross-validation.
#[derive(Debug, PartialEq, Serialize)]
pub struct SplitSizes {
    /// Rows that the weights were fitted to.
    #[serde(rename = "fit")]
    pub train: usize,
    /// Rows that chose the settings or the best epoch.
    #[serde(rename = "choose")]
    pub validation: usize,
    /// Rows held out for the report.
    #[serde(rename = "held_out")]
    pub test: usize,
}

/// The quality of a head on the rows of one source.
#[derive(Debug, PartialEq, Serialize)]
pub struct SourceQuality {
    /// The path of the file or folder.
    pub source: String,
    /// The quality on its rows.
    #[serde(flatten)]
    pub quality: Quality,
}

/// Settings, and their results on the validation rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// The settings.
    #[serde(flatten)]
    pub settings: TrialSettings,
    /// Mean loss, with rows weighted by source. The settings with the lowest are chosen, so that confidences are right, too.
    pub log_loss: f64,
    /// The head's main metric: accuracy, micro-F1 or Spearman's rank correlation.
    #[serde(rename = "figure")]
    pub main_metric: f64,
}

impl TrainingReport {
    pub(super) fn new(
        task: &HeadTask,
        head: &TrainedHead,
        seed: u64,
        training: TrainingDetails,
    ) -> Result<Self> {
        let HeadTask { data, external_validation, split, .. } = task;
        let test: Vec<_> = split.test.iter().filter_map(|&row| data.rows.get(row)).collect();
        let targets = task.targets_of(&split.test)?;
        let test_sources: Vec<_> = test.iter().map(|row| row.source).collect();
        let external_sources: Vec<_> = external_validation.rows.iter().map(|row| row.source).collect();
        let external_targets = task.targets(&external_validation.rows)?;
        let held_out = match test.is_empty() {
            true => None,
            false => Some(Quality::compute(task, &head.test_logits, &targets)?),
        };
        Ok(Self {
            head: task.name().to_owned(),
            kind: task.kind(),
            layer: head.reads.layer,
            features: head.reads.features.clone(),
            seed,
            sources: rows_by_source(data),
            split: SplitSizes {
                train: split.train.len(),
                validation: split.validation.len(),
                test: test.len(),
            },
            training,
            held_out,
            held_out_by_source: by_source(task, data, &test_sources, &head.test_logits, &targets)?,
            validation: by_source(
                task,
                external_validation,
                &external_sources,
                &head.external_validation_logits,
                &external_targets,
            )?,
        })
    }
}

/// The quality on the rows of each source, without sources that have no rows.
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
            let (logits, targets) = (logits.f_index_select(0, &rows)?, targets.f_index_select(0, &rows)?);
            let quality = Quality::compute(task, &logits, &targets)?;
            qualities.push(SourceQuality { source: path.display().to_string(), quality });
        }
    }
    Ok(qualities)
}

/// The sources of the data with their numbers of rows.
fn rows_by_source(data: &Data) -> Vec<SourceRows> {
    let rows = |index| data.rows.iter().filter(|row| row.source == index).count();
    data.sources
        .iter()
        .enumerate()
        .map(|(index, path)| SourceRows { source: path.display().to_string(), rows: rows(index) })
        .collect()
}

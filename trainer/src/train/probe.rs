//! `--method head`: fits a head to the vectors of the frozen encoder.

use anyhow::{Context, Result};
use parking_lot::Mutex;
use rayon::prelude::*;
use tch::Tensor;

use super::embed::embed;
use super::plan::HeadKind;
use super::quality::Quality;
use super::regression::{LabelledFeatures, LogisticRegression};
use super::report::{Trial, TrialSettings};
use super::task::HeadTask;
use super::trained::TrainedHead;
use llm_router_classifier::model::encoder::Encoder;
use llm_router_classifier::model::heads::HeadInput;
use llm_router_classifier::model::tokenizer::Tokens;

/// Some of the rows, with their weights by source.
pub(super) struct Subset {
    pub(super) features: LabelledFeatures,
    /// `[rows]`
    pub(super) weights: Tensor,
    rows: Vec<usize>,
}

impl Subset {
    pub(super) fn new(task: &HeadTask, all: &LabelledFeatures, rows: &[usize]) -> Result<Self> {
        Ok(Self { features: all.select(rows)?, weights: task.source_weights(rows)?, rows: rows.to_vec() })
    }

    /// Another handle on the same memory, for another thread.
    fn shallow_clone(&self) -> Self {
        let Self { features, weights, rows } = self;
        Self { features: features.shallow_clone(), weights: weights.shallow_clone(), rows: rows.clone() }
    }
}

/// Fits a head, and returns the settings that were chosen and all that were tried. The same input on the same kind of CPU
/// gives the same bytes.
///
/// # Errors
/// If libtorch fails.
pub(super) fn train(
    encoder: &Encoder,
    task: &HeadTask,
    reads: HeadInput,
    data: &[Tokens],
    external_validation: &[Tokens],
) -> Result<(TrainedHead, TrialSettings, Vec<Trial>)> {
    // Texts and settings are computed in parallel instead. Besides, a sum depends on how many threads share it.
    tch::set_num_threads(1);
    let features = |texts: &[Tokens]| embed(encoder, &reads, &texts.iter().collect::<Vec<_>>());
    let targets = task.targets(&task.data.rows)?;
    let all = LabelledFeatures { kind: task.kind(), features: features(data)?, targets };
    let train = Subset::new(task, &all, &task.split.train)?;
    let validation = Subset::new(task, &all, &task.split.validation)?;
    let trials = try_settings(task, &train, &validation)?;
    let best =
        trials.iter().min_by(|a, b| a.log_loss.total_cmp(&b.log_loss)).context("no settings to try")?;
    let settings = best.settings;
    let regression = fit(settings, task, &train)?;
    let head = TrainedHead {
        test_logits: regression.logits(&all.select(&task.split.test)?.features)?,
        external_validation_logits: regression.logits(&features(external_validation)?)?,
        linear: regression.into_head(),
        reads,
    };
    Ok((head, settings, trials))
}

/// Fits a regression to some of the rows.
pub(super) fn fit(settings: TrialSettings, task: &HeadTask, train: &Subset) -> Result<LogisticRegression> {
    let weights = task.row_weights(&train.rows, &train.features.targets, settings.class_weights)?;
    LogisticRegression::fit(&train.features, &weights, task.outputs(), settings.l2)
}

fn try_settings(task: &HeadTask, train: &Subset, validation: &Subset) -> Result<Vec<Trial>> {
    // A tensor can be sent to another thread, but not be shared with it: each thread clones the handles, not the memory.
    let shared = Mutex::new((train.shallow_clone(), validation.shallow_clone()));
    let handles = || {
        let shared = shared.lock();
        (shared.0.shallow_clone(), shared.1.shallow_clone())
    };
    let grid = TrialSettings::grid(task.kind() == HeadKind::SingleLabel);
    let trials = grid.into_par_iter().map_init(handles, |(train, validation), settings| {
        let regression = fit(settings, task, train)?;
        let log_loss = regression.log_loss(&validation.features, &validation.weights)?;
        let logits = regression.logits(&validation.features.features)?;
        let main_metric = Quality::compute(task, &logits, &validation.features.targets)?.main_metric();
        Ok(Trial { settings, log_loss, main_metric })
    });
    trials.collect()
}

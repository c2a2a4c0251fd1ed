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
use super::split::Split;
use super::task::HeadTask;
use super::trained::TrainedHead;
use llm_router_classifier::model::encoder::Encoder;
use llm_router_classifier::model::heads::HeadInput;
use llm_router_classifier::model::tokenizer::Tokens;

/// The number of parts that rows with grades are divided into to choose the settings.
const FOLDS: usize = 5;

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
    // Texts and settings are computed in parallel instead. Besides, the rounding of a sum depends on the
    // number of threads.
    tch::set_num_threads(1);
    let features = |texts: &[Tokens]| embed(encoder, &reads, &texts.iter().collect::<Vec<_>>());
    let targets = task.targets(&task.data.rows)?;
    let all = LabelledFeatures { kind: task.kind(), features: features(data)?, targets };
    let choice = Choice::new(task);
    let trials = try_settings(task, &all, &choice)?;
    let best =
        trials.iter().min_by(|a, b| a.log_loss.total_cmp(&b.log_loss)).context("no settings to try")?;
    let settings = best.settings;
    let regression = fit(settings, task, &Subset::new(task, &all, &choice.fitted)?)?;
    let head = TrainedHead {
        test_logits: regression.logits(&all.select(&task.split.test)?.features)?,
        external_validation_logits: regression.logits(&features(external_validation)?)?,
        linear: regression.into_head(),
        reads,
    };
    Ok((head, settings, trials))
}

/// Which rows choose the settings.
struct Choice {
    /// Rows that a head is fitted to, and rows that measure it.
    trials: Vec<(Vec<usize>, Vec<usize>)>,
    /// The rows that the head with the chosen settings is fitted to.
    fitted: Vec<usize>,
}

impl Choice {
    /// Labels have rows set apart for it. Grades are noisy, and often few: there, each fifth of the rows measures a head that was
    /// fitted to the others.
    fn new(task: &HeadTask) -> Self {
        let Split { train, validation, .. } = &task.split;
        if task.kind() != HeadKind::Score {
            return Self { trials: vec![(train.clone(), validation.clone())], fitted: train.clone() };
        }
        let mut rows = [&train[..], validation].concat();
        rows.sort_unstable();
        let fold = |fold: usize| {
            let (measured, fitted): (Vec<_>, Vec<_>) =
                rows.iter().enumerate().partition(|(place, _)| place % FOLDS == fold);
            let row = |(_, row): (usize, &usize)| *row;
            (fitted.into_iter().map(row).collect(), measured.into_iter().map(row).collect())
        };
        Self { trials: (0..FOLDS).map(fold).collect(), fitted: rows }
    }
}

/// Fits a regression to some of the rows.
pub(super) fn fit(settings: TrialSettings, task: &HeadTask, train: &Subset) -> Result<LogisticRegression> {
    let weights = task.row_weights(&train.rows, &train.features.targets, settings.class_weights)?;
    LogisticRegression::fit(&train.features, &weights, task.outputs(), settings.l2)
}

/// The mean loss and the main metric of a head on rows.
pub(super) fn measure(regression: &LogisticRegression, task: &HeadTask, rows: &Subset) -> Result<(f64, f64)> {
    let logits = regression.logits(&rows.features.features)?;
    let quality = Quality::compute(task, &logits, &rows.features.targets)?;
    Ok((regression.log_loss(&rows.features, &rows.weights)?, quality.main_metric()))
}

fn try_settings(task: &HeadTask, all: &LabelledFeatures, choice: &Choice) -> Result<Vec<Trial>> {
    let subset = |rows: &[usize]| Subset::new(task, all, rows);
    let subsets = choice.trials.iter().map(|(train, validation)| Ok((subset(train)?, subset(validation)?)));
    // A tensor can be sent to another thread, but not be shared with it: each thread clones the handles, not the memory.
    let shared = Mutex::new(subsets.collect::<Result<Vec<_>>>()?);
    let handles = || {
        let both =
            |(train, validation): &(Subset, Subset)| (train.shallow_clone(), validation.shallow_clone());
        shared.lock().iter().map(both).collect::<Vec<_>>()
    };
    let trial = |subsets: &mut Vec<(Subset, Subset)>, settings: TrialSettings| {
        let (mut log_loss, mut main_metric) = (0.0, 0.0);
        for (train, validation) in &*subsets {
            let (loss, metric) = measure(&fit(settings, task, train)?, task, validation)?;
            log_loss += loss;
            main_metric += metric;
        }
        let count = subsets.len() as f64;
        Ok(Trial { settings, log_loss: log_loss / count, main_metric: main_metric / count })
    };
    TrialSettings::grid(task.kind()).into_par_iter().map_init(handles, trial).collect()
}

//! `--method head`: fits heads to what the encoder says as it is.

use anyhow::{Context, Result};
use parking_lot::Mutex;
use rayon::prelude::*;
use tch::Tensor;

use super::embed::embed;
use super::fine_tune::TrainedHead;
use super::plan::Kind;
use super::quality::Quality;
use super::regression::{Examples, Linear};
use super::report::{Trial, TrialSettings};
use super::task::HeadTask;
use llm_router_classifier::model::encoder::Encoder;
use llm_router_classifier::model::heads::Reads;
use llm_router_classifier::model::tokenizer::Tokens;

/// A part of the split, with what each row counts by its source.
struct Part {
    examples: Examples,
    /// `[rows]`
    weights: Tensor,
    rows: Vec<usize>,
}

impl Part {
    fn new(task: &HeadTask, all: &Examples, rows: &[usize]) -> Result<Self> {
        Ok(Self { examples: all.select(rows)?, weights: task.source_weights(rows)?, rows: rows.to_vec() })
    }

    /// Another handle on the same memory, for another thread.
    fn share(&self) -> Self {
        let Self { examples, weights, rows } = self;
        Self { examples: examples.share(), weights: weights.shallow_clone(), rows: rows.clone() }
    }
}

/// Fits a head, and returns what was tried. The same input on the same kind of CPU gives the same bytes.
///
/// # Errors
/// If libtorch fails.
pub(super) fn train(
    encoder: &Encoder,
    task: &HeadTask,
    reads: Reads,
    data: &[Tokens],
    validation: &[Tokens],
) -> Result<(TrainedHead, TrialSettings, Vec<Trial>)> {
    // Texts and settings run side by side instead; and sums would depend on how many threads share an operation.
    tch::set_num_threads(1);
    let features = |texts: &[Tokens]| embed(encoder, &reads, &texts.iter().collect::<Vec<_>>());
    let all =
        Examples { kind: task.kind(), features: features(data)?, targets: task.targets(&task.data.rows)? };
    let (fit, choose) = (Part::new(task, &all, &task.split.fit)?, Part::new(task, &all, &task.split.choose)?);
    let trials = try_settings(task, &fit, &choose)?;
    let best =
        trials.iter().min_by(|a, b| a.log_loss.total_cmp(&b.log_loss)).context("no settings to try")?;
    let settings = best.settings;
    let linear = fit_with(settings, task, &fit)?;
    let head = TrainedHead {
        held_out: linear.logits(&all.select(&task.split.held_out)?.features)?,
        validation: linear.logits(&features(validation)?)?,
        linear: linear.into_head(),
        reads,
    };
    Ok((head, settings, trials))
}

fn fit_with(settings: TrialSettings, task: &HeadTask, fit: &Part) -> Result<Linear> {
    let weights = task.row_weights(&fit.rows, &fit.examples.targets, settings.class_weights)?;
    Linear::fit(&fit.examples, &weights, task.outputs(), settings.l2)
}

fn try_settings(task: &HeadTask, fit: &Part, choose: &Part) -> Result<Vec<Trial>> {
    // A tensor can be sent to another thread, but not be shared with it: each thread clones the handles, not the memory.
    let shared = Mutex::new((fit.share(), choose.share()));
    let handles = || {
        let shared = shared.lock();
        (shared.0.share(), shared.1.share())
    };
    let grid = TrialSettings::grid(task.kind() == Kind::SingleLabel);
    let trials = grid.into_par_iter().map_init(handles, |(fit, choose), settings| {
        let linear = fit_with(settings, task, fit)?;
        let log_loss = linear.log_loss(&choose.examples, &choose.weights)?;
        let logits = linear.logits(&choose.examples.features)?;
        let figure = Quality::of(task, &logits, &choose.examples.targets)?.figure();
        Ok(Trial { settings, log_loss, figure })
    });
    trials.collect()
}

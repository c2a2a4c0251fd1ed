//! Fits a head to all rows, and scores each row by a head that has not seen it.
//!
//! The rows are divided into folds. A head that was fitted to all other folds scores the rows of a fold. Its
//! regularisation is chosen on those other folds, again by cross-fitting; a head that leaves out two folds
//! serves for both of them. So the score of a row never depends on the row's own target.

mod folded_rows;
mod selection;

use std::path::PathBuf;
use std::slice;

use anyhow::Result;
use tch::{Kind, Tensor};

use folded_rows::FoldedRows;

use super::embed::embed;
use super::job::Job;
use super::pipeline::{head_input, tokenize};
use super::probe::{Subset, fit};
use super::regression::LabelledFeatures;
use super::report::{TrainingDetails, TrainingReport};
use super::save;
use super::task::HeadTask;
use super::trained::TrainedHead;
use llm_router_classifier::model::heads::Head;
use llm_router_classifier::model::load::load_encoder;

/// Divides the number of layers: without a layer in the plan, the head reads the one at a third of the depth.
/// The last layers represent what a prompt is about, and less of what it asks for.
const MIDDLE: usize = 3;

/// A score head that was fitted to all rows of a task.
#[derive(Debug)]
pub struct CrossFittedHead {
    head: Head,
    report: TrainingReport,
    /// Each row's score by a head that has not seen it.
    scores: Vec<f32>,
    /// The number of tokens of each row's text.
    tokens: Vec<u64>,
}

impl CrossFittedHead {
    /// Fits the head. `folds` are the numbers of the rows' folds, from 0.
    ///
    /// # Errors
    /// If the model cannot be used, there are fewer than three folds, or libtorch fails.
    pub fn fit(task: &HeadTask, folds: &[usize], job: &Job) -> Result<Self> {
        let (encoder, tokenizer) = load_encoder(job.model, job.compute)?;
        let texts = tokenize(slice::from_ref(task), &tokenizer)?.data.pop().unwrap_or_default();
        let mut reads = head_input(task, &encoder, &texts)?;
        if task.plan.layer.is_none() {
            reads.layer = encoder.layers().div_ceil(MIDDLE);
        }
        // Texts and fits are computed in parallel instead. Besides, the rounding of a sum depends on the
        // number of threads.
        tch::set_num_threads(1);
        let features = embed(&encoder, &reads, &texts.iter().collect::<Vec<_>>())?;
        let targets = task.targets(&task.data.rows)?;
        let rows = FoldedRows::new(task, LabelledFeatures { kind: task.kind(), features, targets }, folds)?;
        let selection = rows.try_settings()?;
        let logits = rows.held_out_logits(&selection)?;
        let chosen = selection.best(None)?;
        let all: Vec<_> = (0..folds.len()).collect();
        let linear = fit(chosen, task, &Subset::new(task, &rows.all, &all)?)?.into_head();
        let scores = Vec::try_from(logits.f_sigmoid()?.f_view([-1])?)?;
        let trained = TrainedHead {
            linear,
            reads,
            external_validation_logits: Tensor::f_zeros([0, task.outputs()], (Kind::Float, logits.device()))?,
            test_logits: logits,
        };
        let details =
            TrainingDetails::CrossFitted { settings: chosen, folds: rows.count, trials: selection.trials() };
        let report = TrainingReport::new(task, &trained, job.seed, details)?;
        let TrainedHead { linear, reads, .. } = trained;
        let head = Head::new(task.name(), task.labels.clone(), reads, Some(linear), task.output())?;
        let tokens = texts.iter().map(|text| text.read().of as u64).collect();
        Ok(Self { head, report, scores, tokens })
    }

    /// Each row's score by a head that has not seen it, from 0 to 1.
    #[must_use]
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// The number of tokens of each row's text.
    #[must_use]
    pub fn tokens(&self) -> &[u64] {
        &self.tokens
    }

    /// Writes the head with a note into the job's output folder, and returns the head's folder. `section` becomes part of its
    /// card.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(self, job: &Job, note: &str, section: &str) -> Result<PathBuf> {
        save::same_encoder(job.model, job.out)?;
        save::head(job.out, &self.head.with_note(Some(note)), &self.report, job.command, section)
    }
}

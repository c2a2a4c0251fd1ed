//! The two ways to train, from the data of the heads to a model's folder.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;

use super::data::Data;
use super::fine_tune::{self, FineTuneSettings, RunOptions, StopSignal};
use super::job::Job;
use super::report::{TrainingDetails, TrainingReport};
use super::task::HeadTask;
use super::texts::TokenizedTexts;
use super::trained::TrainedHead;
use super::{probe, save};
use llm_router_classifier::model::encoder::Encoder;
use llm_router_classifier::model::heads::{Head, HeadInput};
use llm_router_classifier::model::load::{load_encoder, load_tokenizer};
use llm_router_classifier::model::text_features::{ScaledFeature, TextFeatures};
use llm_router_classifier::model::tokenizer::{Tokenizer, Tokens};
use llm_router_classifier::model::training::Dropout;

/// Fits heads to the frozen encoder, and writes them.
///
/// # Errors
/// If the model cannot be used, libtorch fails, or a file cannot be written.
pub fn train_heads(tasks: &[HeadTask], job: &Job) -> Result<Vec<TrainingReport>> {
    let (encoder, tokenizer) = load_encoder(job.model, job.compute)?;
    let texts = tokenize(tasks, &tokenizer)?;
    save::same_encoder(job.model, job.out)?;
    let mut reports = Vec::new();
    for ((task, data), validation) in tasks.iter().zip(&texts.data).zip(&texts.external_validation) {
        let reads = head_input(task, &encoder, data)?;
        let (head, settings, trials) = probe::train(&encoder, task, reads, data, validation)?;
        let details = TrainingDetails::Head { settings, trials };
        let report = TrainingReport::new(task, &head, job.seed, details)?;
        write(task, head, &report, job)?;
        reports.push(report);
    }
    Ok(reports)
}

/// Trains heads together with the encoder, and writes all. The same input gives the same bytes on the same device with
/// the same number of threads. With `resume`, the training continues from its last checkpoint.
///
/// # Errors
/// If the model cannot be used, libtorch fails, or a file cannot be read or written.
pub fn fine_tune(
    tasks: &[HeadTask],
    job: &Job,
    settings: &FineTuneSettings,
    resume: bool,
    stop: &StopSignal,
) -> Result<Vec<TrainingReport>> {
    let names: Vec<_> = tasks.iter().map(HeadTask::name).collect();
    save::check_heads(job.out, &names)?;
    std::fs::create_dir_all(job.out).with_context(|| format!("cannot create {}", job.out.display()))?;
    let dropout = Dropout::new(settings.dropout);
    let (encoder, training) = Encoder::load_for_training(job.model, job.compute, dropout)?;
    let texts = tokenize(tasks, &load_tokenizer(job.model, &encoder)?)?;
    let reads = tasks.iter().zip(&texts.data).map(|(task, data)| head_input(task, &encoder, data));
    let reads = reads.collect::<Result<Vec<_>>>()?;
    let options = RunOptions {
        settings,
        compute: job.compute,
        threads: job.threads,
        out: job.out,
        resume,
        stop,
        started: job.started,
    };
    let trained = fine_tune::train(encoder, training, tasks, reads, &texts, &options)?;
    save::encoder(job.model, job.out, &trained.encoder)?;
    let mut reports = Vec::new();
    for (task, head) in tasks.iter().zip(trained.heads) {
        let details = TrainingDetails::FineTuned(Box::new(trained.history.clone()));
        let report = TrainingReport::new(task, &head, job.seed, details)?;
        write(task, head, &report, job)?;
        reports.push(report);
    }
    if trained.history.stop_reason.is_final() {
        fine_tune::remove_checkpoint(job.out)?;
    }
    Ok(reports)
}

fn write(task: &HeadTask, head: TrainedHead, report: &TrainingReport, job: &Job) -> Result<PathBuf> {
    let TrainedHead { linear, reads, .. } = head;
    let head = Head::new(task.name(), task.labels.clone(), reads, Some(linear), task.output())?;
    save::head(job.out, &head, report, job.command, "")
}

/// Tokenizes the texts of all tasks.
pub(super) fn tokenize(tasks: &[HeadTask], tokenizer: &Tokenizer) -> Result<TokenizedTexts> {
    let tokens = |data: &Data| {
        data.rows.par_iter().map(|row| tokenizer.tokenize(row.prompt())).collect::<Result<Vec<_>>>()
    };
    let all =
        |of: fn(&HeadTask) -> &Data| tasks.iter().map(|task| tokens(of(task))).collect::<Result<Vec<_>>>();
    Ok(TokenizedTexts {
        data: all(|task| &task.data)?,
        external_validation: all(|task| &task.external_validation)?,
    })
}

/// The input of the task's head. Text features are scaled by the training rows.
pub(super) fn head_input(task: &HeadTask, encoder: &Encoder, data: &[Tokens]) -> Result<HeadInput> {
    let layer = task.plan.layer.unwrap_or(encoder.layers());
    ensure!(
        layer <= encoder.layers(),
        "head {:?}: the encoder has {} layers, so there is no layer {layer}",
        task.name(),
        encoder.layers()
    );
    let texts = task.split.train.iter().filter_map(|&row| data.get(row));
    let texts: Vec<TextFeatures> = texts.map(|text| *text.features()).collect();
    let mut features = Vec::new();
    for &name in &task.plan.features {
        let feature = ScaledFeature::fit(name, &texts);
        features.push(feature.with_context(|| {
            format!(
                "head {:?}: features: {name} is the same in all {} training texts, so it cannot help: leave it out",
                task.name(),
                texts.len()
            )
        })?);
    }
    Ok(HeadInput { layer, pooling: task.plan.pooling, features })
}

//! The two ways to train, from the data of the heads to a model's folder.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;

use super::data::Data;
use super::fine_tune::{self, Run, Settings, Stop, TrainedHead};
use super::job::Job;
use super::report::{How, Report};
use super::task::HeadTask;
use super::texts::Texts;
use super::{probe, save};
use llm_router_classifier::model::encoder::Encoder;
use llm_router_classifier::model::heads::{Head, Reads};
use llm_router_classifier::model::text_features::{ScaledFeature, TextFeatures};
use llm_router_classifier::model::tokenizer::{Tokenizer, Tokens};
use llm_router_classifier::model::training::Dropout;
use llm_router_classifier::model::{load_encoder, load_tokenizer};

/// Fits heads to the encoder as it is, and writes them.
///
/// # Errors
/// If the model is unfit, libtorch fails, or a file cannot be written.
pub fn train_heads(tasks: &[HeadTask], job: &Job) -> Result<Vec<Report>> {
    let (encoder, tokenizer) = load_encoder(job.model, job.compute)?;
    let texts = tokenize(tasks, &tokenizer)?;
    save::same_encoder(job.model, job.out)?;
    let mut reports = Vec::new();
    for ((task, data), validation) in tasks.iter().zip(&texts.data).zip(&texts.validation) {
        let reads = reads(task, &encoder, data)?;
        let (head, settings, trials) = probe::train(&encoder, task, reads, data, validation)?;
        let report = Report::new(task, &head, job.seed, How::Head { settings, trials })?;
        write(task, head, &report, job)?;
        reports.push(report);
    }
    Ok(reports)
}

/// Trains heads together with the encoder, and writes all. The same input gives the same bytes on the same device with
/// the same number of threads. With `resume` it goes on where it was ended.
///
/// # Errors
/// If the model is unfit, libtorch fails, or a file cannot be read or written.
pub fn fine_tune(
    tasks: &[HeadTask],
    job: &Job,
    settings: &Settings,
    resume: bool,
    stop: &Stop,
) -> Result<Vec<Report>> {
    let names: Vec<_> = tasks.iter().map(HeadTask::name).collect();
    save::check_heads(job.out, &names)?;
    std::fs::create_dir_all(job.out).with_context(|| format!("cannot create {}", job.out.display()))?;
    let dropout = Dropout::new(settings.dropout);
    let (encoder, training) = Encoder::load_for_training(job.model, job.compute, dropout)?;
    let texts = tokenize(tasks, &load_tokenizer(job.model, &encoder)?)?;
    let reads = tasks.iter().zip(&texts.data).map(|(task, data)| reads(task, &encoder, data));
    let reads = reads.collect::<Result<Vec<_>>>()?;
    let run = Run {
        settings,
        compute: job.compute,
        threads: job.threads,
        out: job.out,
        resume,
        stop,
        began: job.began,
    };
    let trained = fine_tune::train(encoder, training, tasks, reads, &texts, &run)?;
    save::encoder(job.model, job.out, &trained.encoder)?;
    let mut reports = Vec::new();
    for (task, head) in tasks.iter().zip(trained.heads) {
        let how = How::FineTuned(Box::new(trained.history.clone()));
        let report = Report::new(task, &head, job.seed, how)?;
        write(task, head, &report, job)?;
        reports.push(report);
    }
    Ok(reports)
}

fn write(task: &HeadTask, head: TrainedHead, report: &Report, job: &Job) -> Result<PathBuf> {
    let TrainedHead { linear, reads, .. } = head;
    let head = Head::new(task.name(), task.labels.clone(), reads, Some(linear), task.output())?;
    save::head(job.out, &head, report, job.command)
}

fn tokenize(tasks: &[HeadTask], tokenizer: &Tokenizer) -> Result<Texts> {
    let tokens = |data: &Data| {
        data.rows.par_iter().map(|row| tokenizer.tokenize(&row.text)).collect::<Result<Vec<_>>>()
    };
    let all =
        |of: fn(&HeadTask) -> &Data| tasks.iter().map(|task| tokens(of(task))).collect::<Result<Vec<_>>>();
    Ok(Texts { data: all(|task| &task.data)?, validation: all(|task| &task.validation)? })
}

/// What the task's head reads: features are scaled by the rows that are fitted.
fn reads(task: &HeadTask, encoder: &Encoder, data: &[Tokens]) -> Result<Reads> {
    let layer = task.plan.layer.unwrap_or(encoder.layers());
    ensure!(
        layer <= encoder.layers(),
        "head {:?}: layer {layer} is not one of the encoder's {}",
        task.name(),
        encoder.layers()
    );
    let fit: Vec<TextFeatures> =
        task.split.fit.iter().filter_map(|&row| data.get(row)).map(|text| *text.features()).collect();
    let mut features = Vec::new();
    for &name in &task.plan.features {
        let feature = ScaledFeature::fit(name, &fit);
        features.push(feature.with_context(|| {
            format!(
                "head {:?}: features: {name} is the same in all {} texts that are fitted, and says nothing: leave it out",
                task.name(),
                fit.len()
            )
        })?);
    }
    Ok(Reads { layer, pooling: task.plan.pooling, features })
}

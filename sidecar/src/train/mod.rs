//! Trains a head on the frozen encoder's features, and reports how good it is on rows it has not seen.

mod card;
mod data;
mod embed;
mod parallel;
mod report;
mod softmax_regression;
mod split;
mod weighting;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tch::Tensor;

pub use crate::eval::{Evaluation, LabelEvaluation};
pub use data::{Data, Fields, Row};
pub use report::{Report, Settings, SourceEvaluation, SourceRows, SplitSizes, Trial};
pub use weighting::ClassWeights;

use crate::model::encoder::Encoder;
use crate::model::head_files;
use crate::model::heads::{Head, Output, Reads};
use crate::model::pooling::Pooling;
use crate::model::tokenizer::Tokenizer;
use softmax_regression::{Examples, Linear};
use split::Split;

/// What a head is trained and tried on.
#[derive(Debug)]
pub struct Task<'a> {
    /// The head's name.
    pub head: &'a str,
    /// Rows that are split into fitting, choosing and holding out.
    pub data: &'a Data,
    /// Rows that are only reported on.
    pub validation: &'a Data,
    /// The encoder layer that the head reads; the first is 1.
    pub layer: usize,
    /// Decides the split.
    pub seed: u64,
}

/// A part of the split, with what each row counts by its source.
struct Part {
    examples: Examples,
    /// `[rows]`
    weights: Tensor,
}

impl Part {
    /// Another handle on the same memory, for another thread.
    fn share(&self) -> Self {
        Self { examples: self.examples.share(), weights: self.weights.shallow_clone() }
    }
}

/// Trains the head, and reports on it. The same input on the same kind of CPU gives the same bytes.
///
/// # Errors
/// If there are too few rows or labels, validation has a label that training has not, or libtorch fails.
pub fn train(encoder: &Encoder, tokenizer: &Tokenizer, task: &Task) -> Result<(Head, Report)> {
    // Texts and settings run side by side instead; and sums would depend on how many threads share an operation.
    tch::set_num_threads(1);
    let labels = task.data.labels();
    ensure!(labels.len() >= 2, "the data have {} labels; training needs at least two", labels.len());
    let names: Vec<_> = task.data.rows.iter().map(|row| row.label.as_str()).collect();
    let split = Split::stratified(&names, task.seed)?;
    let validation_targets = targets(&task.validation.rows, &labels)?;

    let embed = |rows| embed::embed(encoder, tokenizer, task.layer, rows);
    let all = Examples { features: embed(&task.data.rows)?, targets: targets(&task.data.rows, &labels)? };
    let validation = Examples { features: embed(&task.validation.rows)?, targets: validation_targets };

    let part = |rows: &[usize]| {
        anyhow::Ok(Part { examples: all.select(rows)?, weights: source_weights(task.data, rows)? })
    };
    let (fit, choose) = (part(&split.fit)?, part(&split.choose)?);
    let trials = try_settings(&fit, &choose, &labels)?;
    let best =
        trials.iter().min_by(|a, b| a.log_loss.total_cmp(&b.log_loss)).context("no settings to try")?;
    let linear = fit_with(best.settings, &fit, &labels)?;

    let report = Report {
        head: task.head.to_owned(),
        layer: task.layer,
        seed: task.seed,
        sources: report::rows_by_source(task.data),
        split: SplitSizes {
            fit: split.fit.len(),
            choose: split.choose.len(),
            held_out: split.held_out.len(),
        },
        settings: best.settings,
        held_out: evaluate(&linear, &all.select(&split.held_out)?, &labels)?,
        held_out_by_source: by_source(&linear, &all, task.data, Some(&split.held_out), &labels)?,
        validation: by_source(&linear, &validation, task.validation, None, &labels)?,
        trials,
    };
    let reads = Reads { layer: task.layer, pooling: Pooling::MeanAndBeginning };
    let head = Head::new(task.head, labels, reads, Some(linear.into_head()), Output::SingleLabel)?;
    Ok((head, report))
}

/// Writes the head, its model card and its metrics into the model's folder, and returns the head's.
///
/// # Errors
/// If a file cannot be written; the error names it.
pub fn save(model: &Path, head: &Head, report: &Report, command: &str) -> Result<PathBuf> {
    let folder = head_files::save(head, model)?;
    let write = |name: &str, content: String| {
        let path = folder.join(name);
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    };
    write("metrics.json", serde_json::to_string_pretty(report)? + "\n")?;
    let about = std::fs::read_to_string(folder.join(card::ABOUT)).unwrap_or_default();
    write("README.md", card::write(report, &about, command))?;
    Ok(folder)
}

/// The rows' labels as indices of `labels`, which are sorted.
fn targets(rows: &[Row], labels: &[String]) -> Result<Tensor> {
    let target = |row: &Row| {
        let index = labels.binary_search(&row.label).ok();
        index.map(|index| index as i64).with_context(|| {
            format!("validation has label {:?}, which no row of the training data has", row.label)
        })
    };
    Ok(Tensor::f_from_slice(&rows.iter().map(target).collect::<Result<Vec<_>>>()?)?)
}

fn source_weights(data: &Data, rows: &[usize]) -> Result<Tensor> {
    let sources: Vec<_> = rows.iter().filter_map(|&row| data.rows.get(row)).map(|row| row.source).collect();
    weighting::by_source(&sources)
}

fn fit_with(settings: Settings, fit: &Part, labels: &[String]) -> Result<Linear> {
    let count = labels.len() as i64;
    let weights = weighting::by_class(&fit.weights, &fit.examples.targets, count, settings.class_weights)?;
    Linear::fit(&fit.examples, &weights, count, settings.l2)
}

fn try_settings(fit: &Part, choose: &Part, labels: &[String]) -> Result<Vec<Trial>> {
    let grid = Settings::grid();
    parallel::map(
        grid.len(),
        || (fit.share(), choose.share()),
        |(fit, choose), index| {
            let settings = *grid.get(index).context("no such settings")?;
            let linear = fit_with(settings, fit, labels)?;
            let log_loss = linear.log_loss(&choose.examples, &choose.weights)?;
            let Evaluation { accuracy, macro_f1, .. } = evaluate(&linear, &choose.examples, labels)?;
            Ok(Trial { settings, log_loss, accuracy, macro_f1 })
        },
    )
}

fn evaluate(linear: &Linear, examples: &Examples, labels: &[String]) -> Result<Evaluation> {
    let truth = Vec::<i64>::try_from(&examples.targets)?;
    Ok(Evaluation::new(labels, &linear.predict(&examples.features)?, &truth))
}

/// Evaluates each source's rows, or those of them that are in `among`; sources with no such rows are left out.
fn by_source(
    linear: &Linear,
    examples: &Examples,
    data: &Data,
    among: Option<&[usize]>,
    labels: &[String],
) -> Result<Vec<SourceEvaluation>> {
    let mut evaluations = Vec::new();
    for (index, path) in data.sources.iter().enumerate() {
        let of_source = |row: &usize| data.rows.get(*row).is_some_and(|row| row.source == index);
        let rows: Vec<usize> = match among {
            Some(among) => among.iter().copied().filter(of_source).collect(),
            None => (0..data.rows.len()).filter(of_source).collect(),
        };
        if !rows.is_empty() {
            let evaluation = evaluate(linear, &examples.select(&rows)?, labels)?;
            evaluations.push(SourceEvaluation { source: path.display().to_string(), evaluation });
        }
    }
    Ok(evaluations)
}

//! `train`: makes a head from labelled prompts.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::ModelArgs;
use crate::device;
use crate::model::load_encoder;
use crate::train::{Data, Evaluation, Fields, Task, save, train};

/// Options of `train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Name of the head, which becomes part of the header `x-llm-NAME`.
    #[arg(long)]
    head: String,
    /// JSON Lines files with one labelled prompt a line, or folders of them.
    #[arg(long, required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Files or folders that are only reported on.
    #[arg(long, num_args = 1..)]
    validation: Vec<PathBuf>,
    /// Layer of the encoder that the head reads, from 1; the last if not given. For what a prompt asks, rather than
    /// what it is about, one in the middle is better.
    #[arg(long)]
    layer: Option<usize>,
    /// Decides which rows are held out.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The field with the prompt.
    #[arg(long, default_value = "text")]
    text_field: String,
    /// The field with the label.
    #[arg(long, default_value = "label")]
    label_field: String,
    /// Renames labels of the data.
    #[arg(long, num_args = 1.., value_name = "FROM=TO", value_parser = rename)]
    map: Vec<(String, String)>,
}

/// Trains the head and writes it, its card and its metrics into the model's folder.
///
/// # Errors
/// If data or model are unfit, or a file cannot be written.
pub fn run(args: &TrainArgs) -> Result<()> {
    let fields = Fields {
        text: args.text_field.clone(),
        label: args.label_field.clone(),
        renames: args.map.iter().cloned().collect(),
    };
    let validation = Data::read(&args.validation, &fields, &Data::default())?;
    let data = Data::read(&args.data, &fields, &validation)?;
    let device = device::select(args.model.device)?;
    let (encoder, tokenizer) = load_encoder(&args.model.model, device)?;
    tracing::info!(rows = data.rows.len(), validation = validation.rows.len(), "data read");

    let layer = args.layer.unwrap_or(encoder.layers());
    let task = Task { head: &args.head, data: &data, validation: &validation, layer, seed: args.seed };
    let (head, report) = train(&encoder, &tokenizer, &task)?;
    let folder = save(&args.model.model, &head, &report, &command()?)?;

    log("held out", &report.held_out);
    for validation in &report.validation {
        log(&validation.source, &validation.evaluation);
    }
    tracing::info!(folder = %folder.display(), "head written");
    Ok(())
}

fn log(set: &str, evaluation: &Evaluation) {
    let Evaluation { rows, accuracy, macro_f1, majority_accuracy, .. } = evaluation;
    tracing::info!(set, rows, accuracy, macro_f1, majority_accuracy);
}

/// This command as a shell would take it, with the program's name instead of where it was built.
fn command() -> Result<String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words = std::iter::once("llm-router-sidecar").chain(arguments.iter().map(String::as_str));
    shlex::try_join(words).context("an argument has a NUL character")
}

fn rename(argument: &str) -> Result<(String, String), String> {
    let (from, to) = argument.split_once('=').ok_or_else(|| format!("{argument:?} is not FROM=TO"))?;
    Ok((from.to_owned(), to.to_owned()))
}

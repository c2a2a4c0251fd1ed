//! `train`: trains heads on labelled prompts, alone or together with the encoder.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use super::arguments::{command_line, feature, rename};
use crate::train::{
    ClassWeights, Decay, FineTuneSettings, HeadKind, HeadPlan, Job, Method, Plan, Source, StopSignal,
    TrainingReport, fine_tune, load, train_heads,
};
use llm_router_classifier::args::{ModelArgs, duration};
use llm_router_classifier::device::{self, Compute, PrecisionChoice};
use llm_router_classifier::load::cores;
use llm_router_classifier::model::text_features::TextFeature;

/// Options of `train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Output folder. Default with --method head: the model's own folder.
    #[arg(long)]
    out: Option<PathBuf>,
    /// What to train.
    #[arg(long, value_enum, default_value = "lora")]
    method: MethodChoice,
    #[command(flatten)]
    what: WhatArgs,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MethodChoice {
    /// Only heads, on the frozen encoder: seconds to minutes on a CPU.
    Head,
    /// Heads and low-rank adapters of the encoder: a few hundred kilobytes to a few megabytes.
    Lora,
    /// Heads and all weights of the encoder but its embeddings.
    Full,
}

/// Which heads are trained, and on which data.
#[derive(Debug, Args)]
struct WhatArgs {
    /// YAML file with several heads to train together; docs/train-your-own.md describes it.
    #[arg(long, conflicts_with_all = ["head", "data"], required_unless_present = "head")]
    plan: Option<PathBuf>,
    /// Name of the head. It becomes part of the header `x-llm-NAME`.
    #[arg(long, requires = "data")]
    head: Option<String>,
    /// Training data: JSON Lines or CSV files with one labelled prompt per row, or folders of such files.
    #[arg(long, num_args = 1.., requires = "head")]
    data: Vec<PathBuf>,
    /// Files or folders with data that is only reported on.
    #[arg(long, num_args = 1.., requires = "head")]
    validation: Vec<PathBuf>,
    /// Fraction of the data that is held out for the report. Default: 0.05, or 0 with --validation.
    #[arg(long, requires = "head")]
    held_out: Option<f64>,
    /// What the head predicts.
    #[arg(long, value_enum, default_value = "single-label", requires = "head")]
    kind: HeadKind,
    /// Encoder layer that the head reads, from 1. Default: the last. With --method head, a middle layer is better for what
    /// a prompt asks to do, as opposed to its subject.
    #[arg(long, requires = "head")]
    layer: Option<usize>,
    /// Text features that the head reads in addition to the encoder's vector.
    #[arg(long, num_args = 1.., value_parser = feature, requires = "head")]
    features: Vec<TextFeature>,
    /// Field with the prompt.
    #[arg(long, default_value = "text", requires = "head")]
    text_field: String,
    /// Field with the label.
    #[arg(long, default_value = "label", requires = "head")]
    label_field: String,
    /// Fields with the numbers of a score, from 0 to 1.
    #[arg(long, num_args = 1.., default_value = "score", requires = "head")]
    score_fields: Vec<String>,
    /// How labels are weighted. --method head ignores it and chooses the best.
    #[arg(long, value_enum, default_value = "uniform", requires = "head")]
    class_weights: ClassWeights,
    /// Rename labels of the data.
    #[arg(long, num_args = 1.., value_name = "FROM=TO", value_parser = rename, requires = "head")]
    map: Vec<(String, String)>,
}

/// How the encoder is trained. With --method head, only the seed and the precision have an effect.
#[derive(Debug, Args)]
struct HowArgs {
    /// Rank of the adapters.
    #[arg(long, default_value_t = 16)]
    rank: i64,
    /// The adapters are scaled by alpha / rank. Default: twice the rank.
    #[arg(long)]
    alpha: Option<f64>,
    /// Maximum number of passes over the data.
    #[arg(long, default_value_t = 10)]
    epochs: usize,
    /// Stop after this number of epochs without a better validation score.
    #[arg(long, default_value_t = 3)]
    patience: usize,
    /// Texts of one optimiser step.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Tokens of one forward pass, padding included. The gradients of a batch with more tokens are accumulated.
    #[arg(long, default_value_t = 2048)]
    batch_tokens: usize,
    /// Highest learning rate of the encoder. Default: 5e-4 for adapters, 3e-5 for all weights.
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Highest learning rate of the heads.
    #[arg(long, default_value_t = 5e-3)]
    head_learning_rate: f64,
    /// Fraction of the steps in which the learning rate rises.
    #[arg(long, default_value_t = 0.06)]
    warm_up: f64,
    /// How the learning rate falls after the warm-up.
    #[arg(long, value_enum, default_value = "cosine")]
    decay: Decay,
    /// AdamW's weight decay.
    #[arg(long, default_value_t = 0.01)]
    weight_decay: f64,
    /// Maximum length of the gradient.
    #[arg(long, default_value_t = 1.0)]
    clip: f64,
    /// Fraction of values that dropout zeroes.
    #[arg(long, default_value_t = 0.1)]
    dropout: f64,
    /// Fraction of the probability that is spread over all labels.
    #[arg(long, default_value_t = 0.0)]
    label_smoothing: f64,
    /// Seed of the split, of the order of the rows and of all other randomness.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Precision of the encoder's computations. Trained weights are kept in 32 bits.
    #[arg(long, value_enum, default_value = "auto")]
    precision: PrecisionChoice,
    /// Stop after this time and write the best result so far: 90s, 30m, 2h.
    #[arg(long, value_parser = duration)]
    time_budget: Option<Duration>,
    /// Interval between checkpoints for --resume. There is one after each epoch, too.
    #[arg(long, value_parser = duration, default_value = "5m")]
    checkpoint_every: Duration,
    /// Continue from the last checkpoint of the same command.
    #[arg(long)]
    resume: bool,
    /// Number of threads. Default: the number of cores.
    #[arg(long)]
    threads: Option<std::num::NonZeroUsize>,
}

/// Trains heads and writes them into the output folder, with their model cards, their metrics and a trained encoder.
///
/// # Errors
/// If the data or the model cannot be used, or a file cannot be written.
pub fn run(args: &TrainArgs) -> Result<()> {
    let started = Instant::now();
    let plan = args.what.plan()?;
    let tasks = load(&plan, args.how.seed)?;
    let device = device::select(args.model.device)?;
    let command = command_line()?;
    let out = match (&args.out, args.method) {
        (Some(out), _) => out,
        (None, MethodChoice::Head) => &args.model.model,
        (None, _) => anyhow::bail!(
            "--out is missing: training changes the encoder, which the heads of {} depend on",
            args.model.model.display()
        ),
    };
    let precision = match (args.method, args.how.precision) {
        // A single pass over the data is fast enough in 32 bits.
        (MethodChoice::Head, PrecisionChoice::Auto) => PrecisionChoice::Fp32,
        (MethodChoice::Lora | MethodChoice::Full, PrecisionChoice::Auto) if device.is_cuda() => {
            PrecisionChoice::Bf16
        }
        (_, precision) => precision,
    };
    let job = Job {
        model: &args.model.model,
        out,
        compute: Compute { device, precision: precision.on(device)? },
        threads: args.how.threads.unwrap_or_else(cores).get(),
        seed: args.how.seed,
        command: &command,
        started,
    };
    let reports = match args.how.settings(args.method)? {
        None => train_heads(&tasks, &job)?,
        Some(settings) => fine_tune(&tasks, &job, &settings, args.how.resume, &StopSignal::on_ctrl_c()?)?,
    };
    reports.iter().for_each(log);
    tracing::info!(folder = %out.display(), seconds = started.elapsed().as_secs(), "written");
    Ok(())
}

impl WhatArgs {
    fn plan(&self) -> Result<Plan> {
        if let Some(path) = &self.plan {
            return Plan::read(path);
        }
        let name = self.head.as_deref().context("--head or --plan is missing")?;
        let sources = |paths: &[PathBuf]| {
            let map = self.map.iter().cloned().collect();
            let source = |path: &PathBuf| Source { map: Clone::clone(&map), ..Source::from(path.clone()) };
            paths.iter().map(source).collect::<Vec<_>>()
        };
        let head = HeadPlan {
            kind: self.kind,
            layer: self.layer,
            features: self.features.clone(),
            validation: sources(&self.validation),
            held_out: self.held_out,
            text_field: self.text_field.clone(),
            label_field: self.label_field.clone(),
            score_fields: self.score_fields.clone(),
            class_weights: self.class_weights,
            ..HeadPlan::new(name, sources(&self.data))
        };
        let plan = Plan { heads: vec![head] };
        plan.check()?;
        Ok(plan)
    }
}

impl HowArgs {
    /// The settings of the training. None if the encoder is not trained.
    fn settings(&self, method: MethodChoice) -> Result<Option<FineTuneSettings>> {
        let (method, learning_rate) = match method {
            MethodChoice::Head => return Ok(None),
            MethodChoice::Lora => {
                let alpha = self.alpha.unwrap_or(2.0 * self.rank as f64);
                (Method::Lora { rank: self.rank, alpha }, 5e-4)
            }
            MethodChoice::Full => (Method::Full, 3e-5),
        };
        ensure!((1..=1024).contains(&self.rank), "--rank must be from 1 to 1024");
        ensure!(
            self.precision != PrecisionChoice::Fp16,
            "--precision fp16 is too inexact for training; use bf16"
        );
        ensure!((0.0..1.0).contains(&self.dropout), "--dropout must be from 0 to less than 1");
        ensure!(
            (0.0..1.0).contains(&self.label_smoothing),
            "--label-smoothing must be from 0 to less than 1"
        );
        ensure!((0.0..1.0).contains(&self.warm_up), "--warm-up must be from 0 to less than 1");
        ensure!(self.batch > 0 && self.epochs > 0, "--batch and --epochs must be positive");
        Ok(Some(FineTuneSettings {
            method,
            epochs: self.epochs,
            patience: self.patience.max(1),
            batch: self.batch,
            batch_tokens: self.batch_tokens,
            learning_rate: self.learning_rate.unwrap_or(learning_rate),
            head_learning_rate: self.head_learning_rate,
            warm_up: self.warm_up,
            decay: self.decay,
            weight_decay: self.weight_decay,
            clip: self.clip,
            dropout: self.dropout,
            label_smoothing: self.label_smoothing,
            seed: self.seed,
            time_budget: self.time_budget,
            checkpoint_every: self.checkpoint_every,
        }))
    }
}

fn log(report: &TrainingReport) {
    let all = report.held_out.iter().map(|quality| ("held out", quality));
    let sources = report.validation.iter().map(|source| (source.source.as_str(), &source.quality));
    for (set, quality) in all.chain(sources) {
        let (rows, metric) = (quality.rows(), quality.main_metric());
        tracing::info!(head = report.head, set, rows, "{} {metric:.4}", quality.main_metric_name());
    }
}

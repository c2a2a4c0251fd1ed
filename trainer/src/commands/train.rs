//! `train`: makes heads from labelled prompts, and trains the encoder for them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use super::arguments::{command_line, rename};
use crate::train::{
    ClassWeights, Decay, HeadPlan, Job, Kind, Method, Plan, Report, Settings, Source, Stop, fine_tune, load,
    train_heads,
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
    /// The folder to write; with --method head it is the model's own by default.
    #[arg(long)]
    out: Option<PathBuf>,
    /// What is trained.
    #[arg(long, value_enum, default_value = "lora")]
    method: MethodChoice,
    #[command(flatten)]
    what: WhatArgs,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MethodChoice {
    /// Heads alone, on the encoder as it is: seconds to minutes on a CPU.
    Head,
    /// Heads, and low-rank adapters of the encoder: a few hundred kilobytes to a few megabytes.
    Lora,
    /// Heads, and all weights of the encoder but its embeddings.
    Full,
}

/// What is trained on what.
#[derive(Debug, Args)]
struct WhatArgs {
    /// A YAML file with several heads that are trained together; docs/train-your-own.md describes it.
    #[arg(long, conflicts_with_all = ["head", "data"], required_unless_present = "head")]
    plan: Option<PathBuf>,
    /// Name of the head, which becomes part of the header `x-llm-NAME`.
    #[arg(long, requires = "data")]
    head: Option<String>,
    /// JSON Lines or CSV files with one labelled prompt a row, or folders of them.
    #[arg(long, num_args = 1.., requires = "head")]
    data: Vec<PathBuf>,
    /// Files or folders that are only reported on.
    #[arg(long, num_args = 1.., requires = "head")]
    validation: Vec<PathBuf>,
    /// Share of the data that is held out for the report; a twentieth by default, or nothing if there is --validation.
    #[arg(long, requires = "head")]
    held_out: Option<f64>,
    /// What the head answers.
    #[arg(long, value_enum, default_value = "single-label", requires = "head")]
    kind: Kind,
    /// Layer of the encoder that the head reads, from 1; the last if not given. With --method head, for what a prompt
    /// asks, rather than what it is about, one in the middle is better.
    #[arg(long, requires = "head")]
    layer: Option<usize>,
    /// What is counted in the text and joins what the head reads.
    #[arg(long, num_args = 1.., value_parser = feature, requires = "head")]
    features: Vec<TextFeature>,
    /// The field with the prompt.
    #[arg(long, default_value = "text", requires = "head")]
    text_field: String,
    /// The field with the label.
    #[arg(long, default_value = "label", requires = "head")]
    label_field: String,
    /// The fields with the numbers of a score, from 0 to 1.
    #[arg(long, num_args = 1.., default_value = "score", requires = "head")]
    score_fields: Vec<String>,
    /// How labels are weighted; --method head chooses itself.
    #[arg(long, value_enum, default_value = "uniform", requires = "head")]
    class_weights: ClassWeights,
    /// Renames labels of the data.
    #[arg(long, num_args = 1.., value_name = "FROM=TO", value_parser = rename, requires = "head")]
    map: Vec<(String, String)>,
}

/// How the encoder is trained; without effect with --method head, but for the seed.
#[derive(Debug, Args)]
struct HowArgs {
    /// Columns of the adapters' matrices.
    #[arg(long, default_value_t = 16)]
    rank: i64,
    /// What the adapters are multiplied with, times the rank; twice the rank by default.
    #[arg(long)]
    alpha: Option<f64>,
    /// Most passes over the data.
    #[arg(long, default_value_t = 10)]
    epochs: usize,
    /// Epochs without a better validation score after which it stops.
    #[arg(long, default_value_t = 3)]
    patience: usize,
    /// Texts of one step.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Tokens that are computed at once; a batch with more goes in parts.
    #[arg(long, default_value_t = 2048)]
    batch_tokens: usize,
    /// The encoder's highest learning rate; 5e-4 for adapters and 3e-5 for all weights by default.
    #[arg(long)]
    learning_rate: Option<f64>,
    /// The heads' highest learning rate.
    #[arg(long, default_value_t = 5e-3)]
    head_learning_rate: f64,
    /// Share of the steps until the learning rate is highest.
    #[arg(long, default_value_t = 0.06)]
    warm_up: f64,
    /// How it falls then.
    #[arg(long, value_enum, default_value = "cosine")]
    decay: Decay,
    /// AdamW's weight decay.
    #[arg(long, default_value_t = 0.01)]
    weight_decay: f64,
    /// Longest gradient.
    #[arg(long, default_value_t = 1.0)]
    clip: f64,
    /// Share of numbers that are zeroed by chance.
    #[arg(long, default_value_t = 0.1)]
    dropout: f64,
    /// Share of the probability that is spread over all labels.
    #[arg(long, default_value_t = 0.0)]
    label_smoothing: f64,
    /// Decides which rows are held out, their order, and all else that is left to chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How precisely the encoder computes; what is trained is kept in 32 bits.
    #[arg(long, value_enum, default_value = "auto")]
    precision: PrecisionChoice,
    /// When it ends at the latest, with the best so far: 90s, 30m, 2h.
    #[arg(long, value_parser = duration)]
    time_budget: Option<Duration>,
    /// How often the state is kept for --resume, beside every epoch's end.
    #[arg(long, value_parser = duration, default_value = "5m")]
    checkpoint_every: Duration,
    /// Goes on where the same command was ended.
    #[arg(long)]
    resume: bool,
    /// Threads; as many as there are cores by default.
    #[arg(long)]
    threads: Option<std::num::NonZeroUsize>,
}

/// Trains heads and writes them, their cards and their metrics into the folder, with the encoder if that was trained.
///
/// # Errors
/// If data or model are unfit, or a file cannot be written.
pub fn run(args: &TrainArgs) -> Result<()> {
    let began = Instant::now();
    let plan = args.what.plan()?;
    let tasks = load(&plan, args.how.seed)?;
    let device = device::select(args.model.device)?;
    let command = command_line()?;
    let out = match (&args.out, args.method) {
        (Some(out), _) => out,
        (None, MethodChoice::Head) => &args.model.model,
        (None, _) => anyhow::bail!(
            "--out is missing: the encoder changes, and with it what the heads of {} read",
            args.model.model.display()
        ),
    };
    let precision = match (args.method, args.how.precision) {
        // Heads are fitted in 32 bits, since seconds do not matter.
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
        threads: args.how.threads.map_or_else(cores, usize::from),
        seed: args.how.seed,
        command: &command,
        began,
    };
    let reports = match args.how.settings(args.method)? {
        None => train_heads(&tasks, &job)?,
        Some(settings) => fine_tune(&tasks, &job, &settings, args.how.resume, &Stop::on_ctrl_c()?)?,
    };
    reports.iter().for_each(log);
    tracing::info!(folder = %out.display(), seconds = began.elapsed().as_secs(), "written");
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
    /// None if the encoder is not trained.
    fn settings(&self, method: MethodChoice) -> Result<Option<Settings>> {
        let (method, learning_rate) = match method {
            MethodChoice::Head => return Ok(None),
            MethodChoice::Lora => {
                let alpha = self.alpha.unwrap_or(2.0 * self.rank as f64);
                (Method::Lora { rank: self.rank, alpha }, 5e-4)
            }
            MethodChoice::Full => (Method::Full, 3e-5),
        };
        ensure!((1..=1024).contains(&self.rank), "--rank must be from 1 to 1024");
        ensure!(self.precision != PrecisionChoice::Fp16, "--precision fp16 cannot be trained in; take bf16");
        ensure!((0.0..1.0).contains(&self.dropout), "--dropout must be from 0 to less than 1");
        ensure!(
            (0.0..1.0).contains(&self.label_smoothing),
            "--label-smoothing must be from 0 to less than 1"
        );
        ensure!((0.0..1.0).contains(&self.warm_up), "--warm-up must be from 0 to less than 1");
        ensure!(self.batch > 0 && self.epochs > 0, "--batch and --epochs must be positive");
        Ok(Some(Settings {
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

fn log(report: &Report) {
    let all = report.held_out.iter().map(|quality| ("held out", quality));
    let sources = report.validation.iter().map(|source| (source.source.as_str(), &source.quality));
    for (set, quality) in all.chain(sources) {
        let (rows, figure) = (quality.rows(), quality.figure());
        tracing::info!(head = report.head, set, rows, "{} {figure:.4}", quality.figure_name());
    }
}

fn feature(name: &str) -> Result<TextFeature, String> {
    let names = TextFeature::ALL.map(|feature| feature.to_string()).join(", ");
    let found = TextFeature::ALL.into_iter().find(|feature| feature.to_string() == name);
    found.ok_or_else(|| format!("not one of {names}"))
}

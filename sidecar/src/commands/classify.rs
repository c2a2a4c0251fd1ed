//! `classify`: prints what each head says of prompts, and how long it took.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::{ModelArgs, PrecisionArgs};
use crate::bench::statistics::percentile;
use crate::device::{self, Compute};
use crate::model::Model;
use crate::model::scores::{Answer, Want};
use crate::model::tokenizer::{Read, Tokenizer};

/// Options of `classify`.
#[derive(Debug, Args)]
pub struct ClassifyArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    precision: PrecisionArgs,
    /// Classify each prompt so many times, and print the median and the 95th percentile.
    #[arg(long, default_value_t = std::num::NonZeroUsize::MIN)]
    repeat: std::num::NonZeroUsize,
    /// What is printed.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
    /// The prompts.
    #[arg(required = true)]
    texts: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One JSON object a prompt.
    Json,
}

/// What is printed of a prompt.
struct Classified<'a> {
    text: &'a str,
    said: Answer,
    /// Of tokenizing and classifying, sorted; at least one.
    milliseconds: Vec<f64>,
}

/// Classifies each prompt on one thread, as a worker of `serve` does, and prints it.
///
/// # Errors
/// If the model is unfit or cannot be computed with.
pub fn run(args: &ClassifyArgs) -> Result<()> {
    let device = device::select(args.model.device)?;
    let compute = Compute { device, precision: args.precision.precision.on(device)? };
    let (model, tokenizer) = Model::load(&args.model.model, compute)?;
    let mut out = std::io::stdout().lock();
    for text in &args.texts {
        let classified = classify(&model, &tokenizer, text, args.repeat.get())?;
        match args.output {
            Output::Text => print_text(&mut out, &classified)?,
            Output::Json => writeln!(out, "{}", to_json(&classified))?,
        }
    }
    Ok(())
}

fn classify<'a>(
    model: &Model,
    tokenizer: &Tokenizer,
    text: &'a str,
    repeat: usize,
) -> Result<Classified<'a>> {
    // The first pass pays for what libtorch does once.
    let tokens = tokenizer.tokenize(text)?;
    let said = model.classify(&[&tokens], Want::Scores)?.pop().unwrap_or_default();
    let mut milliseconds = Vec::with_capacity(repeat);
    for _ in 0..repeat {
        let start = Instant::now();
        model.classify(&[&tokenizer.tokenize(text)?], Want::Scores)?;
        milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
    }
    milliseconds.sort_by(f64::total_cmp);
    Ok(Classified { text, said, milliseconds })
}

impl Classified<'_> {
    /// The time that a share of the repetitions did not exceed.
    fn percentile(&self, share: f64) -> f64 {
        percentile(&self.milliseconds, share).unwrap_or_default()
    }
}

fn print_text(out: &mut impl Write, classified: &Classified) -> Result<()> {
    let (p50, p95) = (classified.percentile(0.5), classified.percentile(0.95));
    let repeated = classified.milliseconds.len();
    let tokens = tokens(classified.said.read);
    writeln!(out, "{}", classified.text)?;
    match repeated {
        1 => writeln!(out, "  {tokens}, {p50:.1} ms")?,
        _ => writeln!(out, "  {tokens}, p50 {p50:.1} ms, p95 {p95:.1} ms of {repeated}")?,
    }
    for scores in &classified.said.scores {
        match (scores.score, scores.top().unwrap_or_default()) {
            (Some(score), _) => writeln!(out, "  {}: {score:.3}", scores.head)?,
            (None, (label, confidence)) => writeln!(out, "  {}: {label} ({confidence:.3})", scores.head)?,
        }
        for (label, confidence) in scores.sorted() {
            writeln!(out, "    {confidence:.3}  {label}")?;
        }
    }
    Ok(())
}

/// `15 tokens`, or `256 of 900 tokens` of a text that is not read whole.
fn tokens(Read { tokens, of, estimated }: Read) -> String {
    match (tokens < of, estimated) {
        (false, _) => format!("{tokens} tokens"),
        (true, false) => format!("{tokens} of {of} tokens"),
        (true, true) => format!("{tokens} of about {of} tokens"),
    }
}

fn to_json(classified: &Classified) -> serde_json::Value {
    let scores = classified.said.scores.iter();
    let heads: serde_json::Map<_, _> =
        scores.map(|scores| (scores.head.to_string(), scores.to_json())).collect();
    json!({
        "text": classified.text,
        "read": classified.said.read.to_json(),
        "milliseconds": {"p50": classified.percentile(0.5), "p95": classified.percentile(0.95)},
        "heads": heads,
    })
}

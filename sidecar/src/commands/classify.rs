//! `classify`: prints the predictions for prompts and how long they took, or streams them for the rows of a file.

mod streaming;

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::bench::statistics::percentile;
use llm_router_classifier::args::EngineArgs;
use llm_router_classifier::model::Model;
use llm_router_classifier::model::prediction::{HeadOutput, Outputs, Prediction};
use llm_router_classifier::model::tokenizer::{Coverage, Tokenizer};

/// Labels and dimensions with a lower score are omitted from the text output.
const MIN_PRINTED: f32 = 0.05;

/// Options of `classify`.
#[derive(Debug, Args)]
pub struct ClassifyArgs {
    #[command(flatten)]
    engine: EngineArgs,
    /// Classify the prompts of a JSON Lines or CSV file, or of standard input (`-`, JSON Lines). Prints one JSON object per
    /// row, in the order of the rows, as soon as it is classified.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["repeat", "texts"])]
    input: Option<PathBuf>,
    /// The field with the prompt.
    #[arg(long, default_value = "text", value_name = "FIELD", requires = "input")]
    text_field: String,
    /// Fields of each row to print with its scores, such as an id; `*` prints all.
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "FIELD", requires = "input")]
    keep: Vec<String>,
    /// Classify each prompt this many times and print the median and the 95th percentile.
    #[arg(long, default_value_t = std::num::NonZeroUsize::MIN)]
    repeat: std::num::NonZeroUsize,
    /// Output format. Default: text for prompts, JSON Lines for --input.
    #[arg(long, value_enum)]
    output: Option<Output>,
    /// The prompts.
    #[arg(required_unless_present = "input")]
    texts: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Text for humans.
    Text,
    /// One JSON object per prompt, one per line.
    #[value(alias = "json")]
    Jsonl,
}

/// A prompt and its results.
struct Classified<'a> {
    text: &'a str,
    prediction: Prediction,
    /// Times of tokenizing and classifying, sorted; at least one.
    milliseconds: Vec<f64>,
}

/// Classifies prompts and prints the predictions.
///
/// # Errors
/// If the model is invalid or fails, or a row of `--input` is malformed; the error names its line.
pub fn run(args: &ClassifyArgs) -> Result<()> {
    match &args.input {
        Some(input) => {
            ensure!(args.output != Some(Output::Text), "--output text is for prompts, not for --input");
            let stream = streaming::run(&args.engine, input, &args.text_field, &args.keep);
            tokio::runtime::Runtime::new()?.block_on(stream)
        }
        None => classify_alone(args),
    }
}

/// Classifies each prompt on one thread, like a worker of `serve`, and prints it.
fn classify_alone(args: &ClassifyArgs) -> Result<()> {
    let compute = args.engine.compute()?;
    let (model, tokenizer) = Model::load(args.engine.model(), compute)?;
    let mut out = std::io::stdout().lock();
    for text in &args.texts {
        let classified = classify(&model, &tokenizer, text, args.repeat.get())?;
        match args.output {
            None | Some(Output::Text) => print_text(&mut out, &classified)?,
            Some(Output::Jsonl) => writeln!(out, "{}", to_json(&classified))?,
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
    // The first pass includes the one-time work of libtorch.
    let tokens = tokenizer.tokenize(text)?;
    let prediction = model.classify(&[&tokens], Outputs::Scores)?.pop().unwrap_or_default();
    let mut milliseconds = Vec::with_capacity(repeat);
    for _ in 0..repeat {
        let start = Instant::now();
        model.classify(&[&tokenizer.tokenize(text)?], Outputs::Scores)?;
        milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
    }
    milliseconds.sort_by(f64::total_cmp);
    Ok(Classified { text, prediction, milliseconds })
}

impl Classified<'_> {
    /// The time that a fraction of the repetitions did not exceed.
    fn percentile(&self, fraction: f64) -> f64 {
        percentile(&self.milliseconds, fraction).unwrap_or_default()
    }
}

fn print_text(out: &mut impl Write, classified: &Classified) -> Result<()> {
    let (p50, p95) = (classified.percentile(0.5), classified.percentile(0.95));
    let repeated = classified.milliseconds.len();
    let tokens = tokens(classified.prediction.read);
    writeln!(out, "{}", classified.text)?;
    match repeated {
        1 => writeln!(out, "  {tokens}, {p50:.1} ms")?,
        _ => writeln!(out, "  {tokens}, p50 {p50:.1} ms, p95 {p95:.1} ms of {repeated}")?,
    }
    for scores in &classified.prediction.scores {
        writeln!(out, "  {}", head_line(scores))?;
    }
    Ok(())
}

/// `domain: chemistry 0.416, physics 0.210`, or `complexity: 0.269 (reasoning 0.534)`; without small scores.
fn head_line(scores: &HeadOutput) -> String {
    let counts = |&(place, (_, number)): &(usize, (&str, f32))| place == 0 || number >= MIN_PRINTED;
    let named = |(_, (name, number)): (usize, (&str, f32))| format!("{name} {number:.3}");
    let all =
        scores.sorted().into_iter().enumerate().filter(counts).map(named).collect::<Vec<_>>().join(", ");
    match scores.score {
        Some(score) if scores.labels.len() == 1 => format!("{}: {score:.3}", scores.head),
        Some(score) => format!("{}: {score:.3} ({all})", scores.head),
        None => format!("{}: {all}", scores.head),
    }
}

/// `15 tokens`, or `256 of 900 tokens` for a text that is longer than the model reads.
fn tokens(Coverage { tokens, of, estimated }: Coverage) -> String {
    match (tokens < of, estimated) {
        (false, _) => format!("{tokens} tokens"),
        (true, false) => format!("{tokens} of {of} tokens"),
        (true, true) => format!("{tokens} of about {of} tokens"),
    }
}

fn to_json(classified: &Classified) -> Value {
    json!({
        "text": classified.text,
        "read": classified.prediction.read.to_json(),
        "milliseconds": {"p50": classified.percentile(0.5), "p95": classified.percentile(0.95)},
        "heads": heads(&classified.prediction),
    })
}

/// The predictions by head name.
fn heads(prediction: &Prediction) -> Value {
    prediction.scores.iter().map(|scores| (scores.head.to_string(), scores.to_json())).collect()
}

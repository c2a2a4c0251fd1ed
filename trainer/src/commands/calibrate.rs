//! `calibrate`: finds a threshold to route by, or a head's temperature.

use std::io::Write;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::json;

use super::arguments::{command_line, fraction};
use super::rows::{RowsArgs, of_head};
use super::two_models::TwoModelsArgs;
use crate::eval::tradeoff::{self, Point, Row, StrongWhen, Yield};
use crate::eval::{Fields, Reliability, label_indices, routing_score, temperature, win_rate_rows};
use crate::train::Calibration;
use llm_router_classifier::args::EngineArgs;
use llm_router_classifier::batch::BatchClassifier;
use llm_router_classifier::model::prediction::{HeadOutput, Outputs, Prediction};
use llm_router_classifier::model::temperature::{HeadSettings, Temperature};
use llm_router_classifier::records::Record;

/// What is calibrated.
#[derive(Debug, Subcommand)]
pub enum CalibrateCommand {
    /// Find the threshold between a weak and a strong model.
    Threshold(Box<ThresholdArgs>),
    /// Fit a head's temperature, so that its confidences are what they say, and write it into its head.json and its card.
    Temperature(Box<TemperatureArgs>),
}

/// Options of both.
#[derive(Debug, Args)]
struct HeadArgs {
    #[command(flatten)]
    engine: EngineArgs,
    /// The head.
    #[arg(long)]
    head: String,
    #[command(flatten)]
    rows: RowsArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `calibrate threshold`.
#[derive(Debug, Args)]
pub struct ThresholdArgs {
    #[command(flatten)]
    head: HeadArgs,
    /// The share of strong calls that is wanted, 0 to 1. The rows need no labels: take what your users send.
    #[arg(long, value_name = "SHARE", value_parser = fraction, required_unless_present = "quality")]
    strong_share: Option<f64>,
    /// The part of the strong model's quality that is to be kept, 0 to 1, as cheaply as can be. The rows have the grades
    /// of both models' answers in their fields `weak` and `strong`.
    #[arg(long, value_name = "PART", value_parser = fraction, conflicts_with = "strong_share")]
    quality: Option<f64>,
    /// Of a head with labels: those whose probability is the score.
    #[arg(long, num_args = 1.., value_name = "LABEL")]
    positive: Vec<String>,
    #[command(flatten)]
    models: TwoModelsArgs,
}

/// Options of `calibrate temperature`.
#[derive(Debug, Args)]
pub struct TemperatureArgs {
    #[command(flatten)]
    head: HeadArgs,
    /// Only print what would be written.
    #[arg(long)]
    dry_run: bool,
}

/// Calibrates, and prints what was found.
///
/// # Errors
/// If rows or model are unfit, no threshold does what is wanted, or the temperature cannot be written.
pub async fn run(command: &CalibrateCommand) -> Result<()> {
    match command {
        CalibrateCommand::Threshold(args) => threshold(args).await,
        CalibrateCommand::Temperature(args) => fit_temperature(args).await,
    }
}

/// Rows, and what is said of them.
struct Said {
    records: Vec<Record>,
    fields: Fields,
    answers: Vec<Prediction>,
    scores: Vec<HeadOutput>,
}

impl HeadArgs {
    async fn ask(&self) -> Result<Said> {
        let (records, fields) = (self.rows.read()?, self.rows.fields());
        let bulk = BatchClassifier::load(&self.engine).await?;
        let answers = bulk.answers_to(&records, &fields.text, Outputs::Scores).await?;
        let scores = of_head(&answers, &self.head)?;
        Ok(Said { records, fields, answers, scores })
    }
}

async fn threshold(args: &ThresholdArgs) -> Result<()> {
    let settings = args.models.settings(&args.positive)?;
    let said = args.head.ask().await?;
    let point = match (args.strong_share, args.quality) {
        (Some(share), _) => {
            let row = |scores| {
                let score = routing_score(scores, &args.positive)?;
                Ok(Row { score, weak: Yield::default(), strong: Yield::default() })
            };
            let rows = said.scores.iter().map(row).collect::<Result<Vec<_>>>()?;
            tradeoff::with_share(&tradeoff::sweep(&rows, settings.when), share).copied()
        }
        (None, part) => {
            let rows = win_rate_rows(&said.records, &said.answers, &said.scores, &settings)?;
            tradeoff::with_quality(&tradeoff::sweep(&rows, settings.when), part.unwrap_or(1.0)).copied()
        }
    };
    let Point { threshold, strong_share, quality, .. } =
        point.context("all rows have the score 0: no threshold divides them")?;
    let mut out = std::io::stdout().lock();
    if args.head.json {
        // Without grades nothing is known of the quality.
        let quality = args.quality.map(|_| quality);
        let found = json!({"threshold": threshold, "strong_share": strong_share, "quality": quality});
        writeln!(out, "{found}")?;
        return Ok(());
    }
    let (rows, percent) = (said.records.len(), 100.0 * strong_share);
    writeln!(out, "threshold {threshold}: {percent:.1} % strong calls of {rows} rows")?;
    if args.quality.is_some() {
        writeln!(out, "mean grade {quality:.3}")?;
    }
    let names = settings.prices.as_ref().map(|prices| (prices.weak.0.as_str(), prices.strong.0.as_str()));
    let (weak, strong) = names.unwrap_or(("WEAK", "STRONG"));
    let (first, second) = match settings.when {
        StrongWhen::Low => (strong, weak),
        StrongWhen::High => (weak, strong),
    };
    let head = &args.head.head;
    writeln!(
        out,
        "in the policy:\n  classifier: {head}\n  bands: [{{ up_to: {threshold}, model: {first} }}, {{ model: {second} }}]"
    )?;
    Ok(())
}

/// A temperature, and what it does.
struct Fit {
    temperature: Temperature,
    before: Reliability,
    after: Reliability,
}

async fn fit_temperature(args: &TemperatureArgs) -> Result<()> {
    let HeadArgs { engine, head, json, .. } = &args.head;
    let settings = HeadSettings::read(engine.model(), head)?;
    let now = settings.temperature()?;
    let said = args.head.ask().await?;
    let Fit { temperature, before, after } = match settings.is_independent() {
        true => fit_outputs(&said, &now)?,
        false => fit_labels(&said, &now)?,
    };
    let path = if args.dry_run { None } else { Some(settings.write_temperature(&temperature)?) };
    if let Some(folder) = path.as_ref().and_then(|path| path.parent()) {
        let (temperature, rows) = (temperature.clone(), said.records.len());
        let calibration = Calibration { temperature, rows, ece: after.ece, command: command_line()? };
        calibration.write(folder)?;
    }
    let mut out = std::io::stdout().lock();
    if *json {
        let found = json!({"temperature": temperature, "ece_before": before.ece, "ece_after": after.ece});
        writeln!(out, "{found}")?;
    } else {
        let (rows, temperature) = (said.records.len(), serde_json::to_string(&temperature)?);
        let (before, after) = (before.ece, after.ece);
        writeln!(
            out,
            "temperature {temperature}: ECE {before:.4} before, {after:.4} after, on these {rows} rows"
        )?;
        if let Some(path) = path {
            writeln!(out, "written to {}", path.display())?;
        }
    }
    Ok(())
}

/// Of a head of which one label is true.
fn fit_labels(said: &Said, now: &Temperature) -> Result<Fit> {
    let labels = &said.scores.first().context("the data have no rows")?.labels;
    let truth = label_indices(&said.records, &said.fields, labels)?;
    let factor = temperature::of_one_label(&said.scores, &truth).context("the data have no rows")?;
    let reliability = |scores: &mut dyn Iterator<Item = HeadOutput>| {
        let top = |(scores, truth): (HeadOutput, &i64)| {
            let top = scores.confidences.iter().zip(0i64..).max_by(|a, b| a.0.total_cmp(b.0));
            top.map_or((0.0, false), |(confidence, label)| (f64::from(*confidence), label == *truth))
        };
        Reliability::of(&scores.zip(&truth).map(top).collect::<Vec<_>>())
    };
    Ok(Fit {
        temperature: Temperature::All(rounded(f64::from(now.of(0)) * factor)),
        before: reliability(&mut said.scores.iter().cloned()),
        after: reliability(&mut said.scores.iter().map(|scores| temperature::rescaled(scores, factor))),
    })
}

/// Of a head whose outputs have a probability each: a temperature for each output.
fn fit_outputs(said: &Said, now: &Temperature) -> Result<Fit> {
    let labels = &said.scores.first().context("the data have no rows")?.labels;
    let (mut temperatures, mut before, mut after) = (Vec::new(), Vec::new(), Vec::new());
    for (output, label) in labels.iter().enumerate() {
        let (mut probabilities, mut truths) = (Vec::new(), Vec::new());
        for (record, scores) in said.records.iter().zip(&said.scores) {
            if let Some(truth) = truth(record, &said.fields, label, scores)? {
                truths.push(truth);
                probabilities.push(scores.confidences.get(output).copied().unwrap_or_default());
            }
        }
        // An output of which the rows say nothing stays as it is.
        let factor = temperature::of_output(&probabilities, &truths).unwrap_or(1.0);
        temperatures.push(rounded(f64::from(now.of(output)) * factor));
        for (&probability, truth) in probabilities.iter().zip(truths) {
            before.push((f64::from(probability), truth));
            after.push((f64::from(temperature::rescaled_output(probability, factor)), truth));
        }
    }
    let temperature = Temperature::Each(temperatures);
    let (before, after) = (Reliability::of_shares(&before), Reliability::of_shares(&after));
    Ok(Fit { temperature, before, after })
}

/// How true a label is of a row: of a score, the row's number for the dimension, if it has one.
fn truth(record: &Record, fields: &Fields, label: &str, scores: &HeadOutput) -> Result<Option<f64>> {
    if scores.score.is_none() {
        return Ok(Some(f64::from(u8::from(fields.labels(record)?.contains(&label)))));
    }
    let alone = scores.labels.len() == 1 && !record.fields.contains_key(label);
    record.number_if_any(if alone { &fields.label } else { label })
}

/// As many digits as the data can tell.
fn rounded(temperature: f64) -> f32 {
    ((temperature * 1e4).round() / 1e4) as f32
}

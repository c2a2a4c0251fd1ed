//! `calibrate`: finds a threshold for routing, or fits the temperature of a head.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use serde_json::json;

use super::arguments::{command_line, fraction};
use super::rows::{RowsArgs, outputs_of};
use super::two_models::TwoModelsArgs;
use crate::eval::tradeoff::{self, GradedRow, QualityCost, StrongWhen, ThresholdPoint};
use crate::eval::{
    Fields, REVERSED, Reliability, label_indices, ranks_in_reverse, routing_score, temperature, win_rate_rows,
};
use crate::train::Calibration;
use llm_router_classifier::args::EngineArgs;
use llm_router_classifier::batch::BatchClassifier;
use llm_router_classifier::model::head_files::SettingsFile;
use llm_router_classifier::model::prediction::{HeadOutput, Outputs, Prediction};
use llm_router_classifier::model::temperature::Temperature;
use llm_router_classifier::records::Record;

/// What is calibrated.
#[derive(Debug, Subcommand)]
pub enum CalibrateCommand {
    /// Find a threshold for routing between a weak and a strong model.
    Threshold(Box<ThresholdArgs>),
    /// Fit the temperature of a head, so that its confidences match its accuracy, and write it into its head.json and card.
    Temperature(Box<TemperatureArgs>),
}

/// Options of both commands.
#[derive(Debug, Args)]
struct HeadArgs {
    #[command(flatten)]
    engine: EngineArgs,
    /// Head to calibrate.
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
    /// Target fraction of calls to the strong model, from 0 to 1. The rows need no labels: use prompts of your users.
    #[arg(long, value_name = "FRACTION", value_parser = fraction, required_unless_present = "quality")]
    strong_fraction: Option<f64>,
    /// Fraction of the strong model's quality to keep, from 0 to 1, with as few strong calls as possible. The fields `weak`
    /// and `strong` of the rows are the grades of both models' completions.
    #[arg(long, value_name = "FRACTION", value_parser = fraction, conflicts_with = "strong_fraction")]
    quality: Option<f64>,
    /// For a head with labels: the labels whose probability is the score.
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
    /// Print the result, but do not write it.
    #[arg(long)]
    dry_run: bool,
}

/// Calibrates, and prints the result.
///
/// # Errors
/// If the rows or the model cannot be used, no threshold divides the rows, or the temperature cannot be written.
pub async fn run(command: &CalibrateCommand) -> Result<()> {
    match command {
        CalibrateCommand::Threshold(args) => threshold(args).await,
        CalibrateCommand::Temperature(args) => fit_temperature(args).await,
    }
}

/// Rows, and the predictions of a head for them.
struct Predictions {
    records: Vec<Record>,
    fields: Fields,
    /// The predictions of all heads.
    all: Vec<Prediction>,
    /// The predictions of this head.
    scores: Vec<HeadOutput>,
}

impl HeadArgs {
    async fn predict(&self) -> Result<Predictions> {
        let (records, fields) = (self.rows.read()?, self.rows.fields());
        let classifier = BatchClassifier::load(&self.engine).await?;
        let all = classifier.predict_all(&records, &fields.text, Outputs::Scores).await?;
        let scores = outputs_of(&all, &self.head)?;
        Ok(Predictions { records, fields, all, scores })
    }
}

async fn threshold(args: &ThresholdArgs) -> Result<()> {
    let settings = args.models.settings(&args.head.head, &args.positive)?;
    let predictions = args.head.predict().await?;
    let point = match (args.strong_fraction, args.quality) {
        (Some(fraction), _) => {
            let row = |scores| {
                let score = routing_score(scores, &args.positive)?;
                Ok(GradedRow { score, weak: QualityCost::default(), strong: QualityCost::default() })
            };
            let rows = predictions.scores.iter().map(row).collect::<Result<Vec<_>>>()?;
            tradeoff::with_strong_fraction(&tradeoff::sweep(&rows, settings.when), fraction).copied()
        }
        (None, quality) => {
            let rows = win_rate_rows(&predictions.records, &predictions.all, &predictions.scores, &settings)?;
            if ranks_in_reverse(&rows, settings.when)? {
                tracing::warn!("{REVERSED}");
            }
            tradeoff::with_quality(&tradeoff::sweep(&rows, settings.when), quality.unwrap_or(1.0)).copied()
        }
    };
    let ThresholdPoint { threshold, strong_fraction, quality, .. } =
        point.context("all rows have the score 0: no threshold divides them")?;
    let mut out = std::io::stdout().lock();
    if args.head.json {
        // Without grades the quality is unknown.
        let quality = args.quality.map(|_| quality);
        let result = json!({"threshold": threshold, "strong_fraction": strong_fraction, "quality": quality});
        writeln!(out, "{result}")?;
        return Ok(());
    }
    let (rows, percent) = (predictions.records.len(), 100.0 * strong_fraction);
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
    if predictions.scores.iter().all(|scores| scores.score.is_none()) {
        writeln!(
            out,
            "scores up to it go to {first}, others to {second}\nnot for a policy's bands: bands divide a score, and head \
             {head} predicts labels"
        )?;
        return Ok(());
    }
    writeln!(
        out,
        "in the policy:\n  classifier: {head}\n  bands: [{{ up_to: {threshold}, model: {first} }}, {{ model: {second} }}]"
    )?;
    Ok(())
}

/// A fitted temperature, and the reliability before and after.
struct Fit {
    temperature: Temperature,
    before: Reliability,
    after: Reliability,
}

async fn fit_temperature(args: &TemperatureArgs) -> Result<()> {
    let HeadArgs { engine, head, json, .. } = &args.head;
    let settings = SettingsFile::read(engine.model(), head)?;
    let present = settings.temperature();
    let predictions = args.head.predict().await?;
    let Fit { temperature, before, after } = match settings.is_independent() {
        true => fit_outputs(&predictions, &present)?,
        false => fit_single_label(&predictions, &present)?,
    };
    let path = if args.dry_run { None } else { Some(settings.write_temperature(&temperature)?) };
    if let Some(folder) = path.as_ref().and_then(|path| path.parent()) {
        let (temperature, rows) = (temperature.clone(), predictions.records.len());
        let calibration = Calibration { temperature, rows, ece: after.ece, command: command_line()? };
        calibration.write(folder)?;
    }
    let mut out = std::io::stdout().lock();
    if *json {
        let result = json!({"temperature": temperature, "ece_before": before.ece, "ece_after": after.ece});
        writeln!(out, "{result}")?;
    } else {
        let (rows, temperature) = (predictions.records.len(), serde_json::to_string(&temperature)?);
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

/// Fits the temperature of a head that predicts one label.
fn fit_single_label(predictions: &Predictions, present: &Temperature) -> Result<Fit> {
    let labels = &predictions.scores.first().context("the data has no rows")?.labels;
    let truth = label_indices(&predictions.records, &predictions.fields, labels)?;
    let factor =
        temperature::fit_single_label(&predictions.scores, &truth).context("the data has no rows")?;
    let reliability = |scores: &mut dyn Iterator<Item = HeadOutput>| {
        let top = |(scores, truth): (HeadOutput, &i64)| {
            let top = scores.confidences.iter().zip(0i64..).max_by(|a, b| a.0.total_cmp(b.0));
            top.map_or((0.0, false), |(confidence, label)| (f64::from(*confidence), label == *truth))
        };
        Reliability::from_outcomes(&scores.zip(&truth).map(top).collect::<Vec<_>>())
    };
    Ok(Fit {
        temperature: Temperature::All(rounded(f64::from(present.for_output(0)) * factor)),
        before: reliability(&mut predictions.scores.iter().cloned()),
        after: reliability(
            &mut predictions.scores.iter().map(|scores| temperature::rescaled(scores, factor)),
        ),
    })
}

/// Fits the temperature of each output of a head with independent outputs.
fn fit_outputs(predictions: &Predictions, present: &Temperature) -> Result<Fit> {
    let labels = &predictions.scores.first().context("the data has no rows")?.labels;
    let (mut temperatures, mut before, mut after) = (Vec::new(), Vec::new(), Vec::new());
    for (output, label) in labels.iter().enumerate() {
        let (mut probabilities, mut truths) = (Vec::new(), Vec::new());
        for (record, scores) in predictions.records.iter().zip(&predictions.scores) {
            if let Some(truth) = truth(record, &predictions.fields, label, scores)? {
                truths.push(truth);
                probabilities.push(scores.confidences.get(output).copied().unwrap_or_default());
            }
        }
        // The rows may have no value for an output.
        let factor = temperature::fit_output(&probabilities, &truths).unwrap_or(1.0);
        temperatures.push(rounded(f64::from(present.for_output(output)) * factor));
        for (&probability, truth) in probabilities.iter().zip(truths) {
            before.push((f64::from(probability), truth));
            after.push((f64::from(temperature::rescaled_output(probability, factor)), truth));
        }
    }
    ensure!(
        !before.is_empty(),
        "the rows have no number for any output of the head, {labels:?}: check --head and --data"
    );
    let temperature = Temperature::Each(temperatures);
    let (before, after) = (Reliability::from_fractions(&before), Reliability::from_fractions(&after));
    Ok(Fit { temperature, before, after })
}

/// The true value of a label for a row: 0 or 1, or for a score the row's number for the dimension, if it has one.
fn truth(record: &Record, fields: &Fields, label: &str, scores: &HeadOutput) -> Result<Option<f64>> {
    if scores.score.is_none() {
        let labels = fields.labels_among(record, &scores.labels)?;
        return Ok(Some(f64::from(u8::from(labels.contains(&label)))));
    }
    let alone = scores.labels.len() == 1 && !record.fields.contains_key(label);
    record.number_if_any(if alone { &fields.label } else { label })
}

/// Rounds a temperature to more digits than data can support.
fn rounded(temperature: f64) -> f32 {
    ((temperature * 1e4).round() / 1e4) as f32
}

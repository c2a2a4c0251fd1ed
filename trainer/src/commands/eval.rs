//! `eval`: measures a head, or example routes, on labelled rows.

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use llm_router_routing::config;

use super::arguments::fraction;
use super::rows::{RowsArgs, of_head};
use super::two_models::TwoModelsArgs;
use crate::eval::examples::{self, Draw};
use crate::eval::{
    Detection, Examples, Fields, MultiLabel, Report, Score, Section, SingleLabel, WinRate, WinRateSettings,
};
use llm_router_classifier::args::EngineArgs;
use llm_router_classifier::batch::BatchClassifier;
use llm_router_classifier::few_shot::Similarity;
use llm_router_classifier::model::prediction::{HeadOutput, Outputs, Prediction};
use llm_router_classifier::model::temperature::HeadSettings;
use llm_router_classifier::records::{Record, read_all};

/// Options of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    #[command(flatten)]
    engine: EngineArgs,
    /// The head that is measured.
    #[arg(long, required_unless_present = "examples")]
    head: Option<String>,
    #[command(flatten)]
    rows: RowsArgs,
    /// Labels that are to be told from all others: prints AUROC, and recall at a rate of false positives. Probabilities of
    /// several add up.
    #[arg(long, num_args = 1.., value_name = "LABEL")]
    positive: Vec<String>,
    /// The rate of false positives at which recall is told.
    #[arg(long, default_value_t = 0.01, value_name = "RATE", value_parser = fraction)]
    false_positive_rate: f64,
    /// Measure routing between two models by the head's score. The rows have the grades of both models' answers, 0 to 1,
    /// in their fields `weak` and `strong`.
    #[arg(long, conflicts_with = "examples")]
    win_rate: bool,
    #[command(flatten)]
    models: TwoModelsArgs,
    /// Measure example routes in place of a head, with so many examples a label.
    #[arg(long, value_name = "COUNT", conflicts_with = "head", requires = "train")]
    examples: Option<NonZeroUsize>,
    /// Where examples are drawn from.
    #[arg(long, num_args = 1.., value_name = "FILE", requires = "examples")]
    train: Vec<PathBuf>,
    /// Decides which examples are drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A label without examples: rows that are to be like none.
    #[arg(long, value_name = "LABEL", requires = "examples")]
    out_of_scope: Option<String>,
    /// Print JSON in place of tables.
    #[arg(long)]
    json: bool,
    /// Write drawings there, as SVG.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Measures, and prints what came of it.
///
/// # Errors
/// If rows or model are unfit, or a drawing cannot be written.
pub async fn run(args: &EvalArgs) -> Result<()> {
    let (records, fields) = (args.rows.read()?, args.rows.fields());
    let report = match args.examples {
        Some(count) => args.measure_examples(count, &records, &fields).await?,
        None => args.measure_head(&records, &fields).await?,
    };
    if let Some(folder) = &args.out {
        for path in report.draw(folder)? {
            tracing::info!(path = %path.display(), "drawn");
        }
    }
    let mut out = std::io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", report.json()?)?,
        false => write!(out, "{report}")?,
    }
    Ok(())
}

impl EvalArgs {
    async fn measure_examples(
        &self,
        count: NonZeroUsize,
        records: &[Record],
        fields: &Fields,
    ) -> Result<Report> {
        let draw = Draw { count: count.get(), seed: self.seed, out_of_scope: self.out_of_scope.clone() };
        let drawn = examples::draw(&read_all(&self.train)?, fields, &draw)?;
        let bulk = BatchClassifier::load(&self.engine).await?;
        let examples = measure_by_examples(&bulk, drawn, records, fields, &draw).await?;
        let subject = format!("example routes on {}", self.engine.model().display());
        Ok(Report { subject, rows: records.len(), sections: vec![Box::new(examples)] })
    }

    async fn measure_head(&self, records: &[Record], fields: &Fields) -> Result<Report> {
        let head = self.head.as_deref().context("--head: which?")?;
        let settings = self.models.settings(&self.positive)?;
        let answers = BatchClassifier::load(&self.engine)
            .await?
            .answers_to(records, &fields.text, Outputs::Scores)
            .await?;
        let scores = of_head(&answers, head)?;
        let sections = if self.win_rate {
            win_rate(records, fields, &answers, &scores, &settings)?
        } else {
            self.sections(head, records, fields, &scores)?
        };
        let subject = format!("head {head} of {}", self.engine.model().display());
        Ok(Report { subject, rows: records.len(), sections })
    }

    fn sections(
        &self,
        head: &str,
        records: &[Record],
        fields: &Fields,
        scores: &[HeadOutput],
    ) -> Result<Vec<Box<dyn Section>>> {
        let mut sections: Vec<Box<dyn Section>> = Vec::new();
        // A checkpoint's own heads have no settings.
        let settings = HeadSettings::read(self.engine.model(), head).ok();
        let gives_score = scores.first().is_some_and(|scores| scores.score.is_some());
        match settings {
            _ if gives_score && !self.positive.is_empty() => {}
            settings if gives_score => {
                let dimensions = scores.first().map_or(0, |scores| scores.labels.len());
                let weights = settings.map(|settings| settings.weights(dimensions));
                sections.push(Box::new(Score::of(records, scores, &fields.label, weights.as_deref())?));
            }
            Some(settings) if settings.is_independent() => {
                sections.push(Box::new(MultiLabel::of(records, fields, scores)?));
            }
            _ => sections.push(Box::new(SingleLabel::of(records, fields, scores)?)),
        }
        if !self.positive.is_empty() {
            let rate = self.false_positive_rate;
            sections.push(Box::new(Detection::of(records, fields, scores, &self.positive, rate)?));
        }
        Ok(sections)
    }
}

/// Classifies the rows by the examples, by the code that serves policies with `classifier: examples`.
///
/// # Errors
/// If a row has a label that has no examples, or the model fails.
async fn measure_by_examples(
    bulk: &BatchClassifier,
    examples: BTreeMap<String, Vec<String>>,
    records: &[Record],
    fields: &Fields,
    draw: &Draw,
) -> Result<Examples> {
    let total = examples.values().map(Vec::len).sum();
    if total > config::Examples::MAX {
        tracing::warn!(total, most = config::Examples::MAX, "a policy may not have so many examples");
    }
    let labels: Vec<_> = examples.keys().cloned().collect();
    let truth = |record: &Record| {
        let label = fields.label(record)?;
        if draw.out_of_scope.as_deref() == Some(label) {
            return Ok(None);
        }
        let index = labels.iter().zip(0i64..).find(|(known, _)| *known == label);
        index.map(|(_, index)| Some(index)).with_context(|| format!("{record}: no examples of {label:?}"))
    };
    let truths = records.iter().map(truth).collect::<Result<Vec<_>>>()?;
    let likeness: Arc<Similarity> =
        bulk.pipeline().learn(&Arc::new(config::Examples::new(examples))).done().await?;
    let answers = bulk.answers_to(records, &fields.text, Outputs::Embedding).await?;
    let scores = answers
        .iter()
        .map(|answer| Ok(likeness.of(answer.embedding.as_deref().context("the model gives no embeddings")?)));
    Examples::of(draw.count, total, &scores.collect::<Result<Vec<HeadOutput>>>()?, &truths)
}

fn win_rate(
    records: &[Record],
    fields: &Fields,
    answers: &[Prediction],
    scores: &[HeadOutput],
    settings: &WinRateSettings,
) -> Result<Vec<Box<dyn Section>>> {
    Ok(vec![Box::new(WinRate::of(records, &fields.text, answers, scores, settings)?)])
}

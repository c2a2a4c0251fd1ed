//! `eval`: measures the quality of a head, or of example routes, on labelled rows.

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::Args;
use llm_router_routing::config;
use serde_json::Value;

use super::arguments::fraction;
use super::rows::{RowsArgs, outputs_of};
use super::two_models::TwoModelsArgs;
use crate::eval::few_shot::{self, SampleSettings};
use crate::eval::{
    ByGroup, Detection, EvaluationReport, FewShot, Fields, Group, GroupDetection, MultiLabel, REVERSED,
    Score, Section, SingleLabel, WinRate, WinRateSettings,
};
use llm_router_classifier::args::EngineArgs;
use llm_router_classifier::batch::BatchClassifier;
use llm_router_classifier::few_shot::Similarity;
use llm_router_classifier::model::head_files::SettingsFile;
use llm_router_classifier::model::prediction::{HeadOutput, Outputs, Prediction};
use llm_router_classifier::records::{Record, read_all};

/// Options of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    #[command(flatten)]
    engine: EngineArgs,
    /// Head to measure.
    #[arg(long, required_unless_present = "examples")]
    head: Option<String>,
    #[command(flatten)]
    rows: RowsArgs,
    /// Labels to detect among all others: reports AUROC, and recall at a rate of false positives. The probabilities of
    /// several labels are added.
    #[arg(long, num_args = 1.., value_name = "LABEL")]
    positive: Vec<String>,
    /// Rate of false positives at which recall is reported.
    #[arg(long, default_value_t = 0.01, value_name = "RATE", value_parser = fraction)]
    false_positive_rate: f64,
    /// Report the rows of each value of this field separately, such as `source` or `lang`.
    #[arg(long, value_name = "FIELD", conflicts_with_all = ["examples", "win_rate"])]
    by: Option<String>,
    /// Measure routing between two models by the head's score. The fields `weak` and `strong` of the rows are the grades of
    /// both models' completions, from 0 to 1.
    #[arg(long, conflicts_with = "examples")]
    win_rate: bool,
    #[command(flatten)]
    models: TwoModelsArgs,
    /// Measure example routes instead of a head, with this number of examples per label.
    #[arg(long, value_name = "COUNT", conflicts_with = "head", requires = "train")]
    examples: Option<NonZeroUsize>,
    /// Files to sample the examples from.
    #[arg(long, num_args = 1.., value_name = "FILE", requires = "examples")]
    train: Vec<PathBuf>,
    /// Seed of the sample.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Label without examples: its rows should be similar to none.
    #[arg(long, value_name = "LABEL", requires = "examples")]
    out_of_scope: Option<String>,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Write SVG drawings into this folder.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Measures, and prints a report.
///
/// # Errors
/// If the rows or the model cannot be used, or a drawing cannot be written.
pub async fn run(args: &EvalArgs) -> Result<()> {
    if !args.win_rate {
        args.models.ensure_absent()?;
    }
    let (records, fields) = (args.rows.read()?, args.rows.fields());
    let report = match args.examples {
        Some(count) => args.measure_few_shot(count, &records, &fields).await?,
        None => args.measure_head(&records, &fields).await?,
    };
    if let Some(folder) = &args.out {
        for path in report.write_drawings(folder)? {
            tracing::info!(path = %path.display(), "wrote a drawing");
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
    async fn measure_few_shot(
        &self,
        count: NonZeroUsize,
        records: &[Record],
        fields: &Fields,
    ) -> Result<EvaluationReport> {
        let settings =
            SampleSettings { count: count.get(), seed: self.seed, out_of_scope: self.out_of_scope.clone() };
        let examples = few_shot::sample(&read_all(&self.train)?, fields, &settings)?;
        let classifier = BatchClassifier::load(&self.engine).await?;
        let section = measure_few_shot(&classifier, examples, records, fields, &settings).await?;
        let subject = format!("example routes on {}", self.engine.model().display());
        Ok(EvaluationReport { subject, rows: records.len(), sections: vec![Box::new(section)] })
    }

    async fn measure_head(&self, records: &[Record], fields: &Fields) -> Result<EvaluationReport> {
        let head = self.head.as_deref().context("--head is missing")?;
        let settings = self.win_rate.then(|| self.models.settings(head, &self.positive)).transpose()?;
        let predictions = BatchClassifier::load(&self.engine)
            .await?
            .predict_all(records, &fields.text, Outputs::Scores)
            .await?;
        let scores = outputs_of(&predictions, head)?;
        let sections = match &settings {
            Some(settings) => win_rate(records, fields, &predictions, &scores, settings)?,
            None => self.sections(head, records, fields, &scores)?,
        };
        let subject = format!("head {head} of {}", self.engine.model().display());
        Ok(EvaluationReport { subject, rows: records.len(), sections })
    }

    fn sections(
        &self,
        head: &str,
        records: &[Record],
        fields: &Fields,
        scores: &[HeadOutput],
    ) -> Result<Vec<Box<dyn Section>>> {
        let mut sections: Vec<Box<dyn Section>> =
            self.quality(head, records, fields, scores)?.into_iter().collect();
        let mut threshold = None;
        if !self.positive.is_empty() {
            let rate = self.false_positive_rate;
            let detection = Detection::compute(records, fields, scores, &self.positive, rate)?;
            threshold = Some(detection.at.threshold);
            sections.push(Box::new(detection));
        }
        if let Some(field) = &self.by {
            let has_field = records.iter().any(|record| record.fields.contains_key(field));
            ensure!(has_field, "--by {field}: no row has this field");
            let mut groups = BTreeMap::<_, (Vec<_>, Vec<_>)>::new();
            for (record, scores) in records.iter().zip(scores) {
                let (records, outputs) = groups.entry(group_of(record, field)).or_default();
                records.push(record.clone());
                outputs.push(scores.clone());
            }
            let group = |(name, (records, scores)): (String, (Vec<Record>, Vec<HeadOutput>))| {
                let mut sections: Vec<Box<dyn Section>> =
                    self.quality(head, &records, fields, &scores)?.into_iter().collect();
                if let Some(threshold) = threshold {
                    let it = GroupDetection::compute(&records, fields, &scores, &self.positive, threshold)?;
                    sections.push(Box::new(it));
                }
                Ok(Group { name, rows: records.len(), sections })
            };
            let groups = groups.into_iter().map(group).collect::<Result<_>>()?;
            sections.push(Box::new(ByGroup { field: field.clone(), groups }));
        }
        Ok(sections)
    }

    /// How well the head's labels or scores agree with the rows'. None for a score that is only used to
    /// detect labels.
    fn quality(
        &self,
        head: &str,
        records: &[Record],
        fields: &Fields,
        scores: &[HeadOutput],
    ) -> Result<Option<Box<dyn Section>>> {
        // Heads that are part of the encoder's checkpoint have no settings.
        let settings = SettingsFile::read(self.engine.model(), head).ok();
        let gives_score = scores.first().is_some_and(|scores| scores.score.is_some());
        Ok(match settings {
            _ if gives_score && !self.positive.is_empty() => None,
            settings if gives_score => {
                let dimensions = scores.first().map_or(0, |scores| scores.labels.len());
                let weights = settings.map(|settings| settings.weights(dimensions));
                Some(Box::new(Score::compute(records, scores, &fields.label, weights.as_deref())?))
            }
            Some(settings) if settings.is_independent() => {
                Some(Box::new(MultiLabel::compute(records, fields, scores)?))
            }
            _ => Some(Box::new(SingleLabel::compute(records, fields, scores)?)),
        })
    }
}

/// The value of a field that rows are grouped by. Rows without it are a group, too.
fn group_of(record: &Record, field: &str) -> String {
    match record.fields.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "(none)".to_owned(),
        Some(other) => other.to_string(),
    }
}

/// Classifies the rows by their similarity to examples, with the code that serves policies with `classifier: examples`.
///
/// # Errors
/// If the label of a row has no examples, or the model fails.
async fn measure_few_shot(
    classifier: &BatchClassifier,
    examples: BTreeMap<String, Vec<String>>,
    records: &[Record],
    fields: &Fields,
    settings: &SampleSettings,
) -> Result<FewShot> {
    let total = examples.values().map(Vec::len).sum();
    if total > config::Examples::MAX {
        tracing::warn!(total, limit = config::Examples::MAX, "a policy must not have this many examples");
    }
    let labels: Vec<_> = examples.keys().cloned().collect();
    let truth = |record: &Record| {
        let label = fields.label(record)?;
        if settings.out_of_scope.as_deref() == Some(label) {
            return Ok(None);
        }
        let index = labels.iter().zip(0i64..).find(|(known, _)| *known == label);
        index.map(|(_, index)| Some(index)).with_context(|| format!("{record}: no examples of {label:?}"))
    };
    let truths = records.iter().map(truth).collect::<Result<Vec<_>>>()?;
    let examples = Arc::new(config::Examples::new(examples));
    let similarity: Arc<Similarity> = classifier.pipeline().embed_policy_examples(&examples).done().await?;
    let predictions = classifier.predict_all(records, &fields.text, Outputs::Embedding).await?;
    let scores = predictions.iter().map(|prediction| {
        let embedding = prediction.embedding.as_deref().context("the model does not output embeddings")?;
        Ok(similarity.compare(embedding))
    });
    FewShot::compute(settings.count, total, &scores.collect::<Result<Vec<HeadOutput>>>()?, &truths)
}

fn win_rate(
    records: &[Record],
    fields: &Fields,
    predictions: &[Prediction],
    scores: &[HeadOutput],
    settings: &WinRateSettings,
) -> Result<Vec<Box<dyn Section>>> {
    let section = WinRate::compute(records, &fields.text, predictions, scores, settings)?;
    if section.is_reversed() {
        tracing::warn!("{REVERSED}");
    }
    Ok(vec![Box::new(section)])
}

//! Example routes measured: a few examples of each label, drawn from a file, as a policy would have them.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use llm_router_routing::config;

use super::{Examples, Fields};
use llm_router_classifier::batch::BatchClassifier;
use llm_router_classifier::few_shot::Similarity;
use llm_router_classifier::model::prediction::{HeadOutput, Outputs};
use llm_router_classifier::records::Record;

/// What is drawn, and how.
#[derive(Debug, Clone)]
pub struct Draw {
    /// Examples of each label.
    pub count: usize,
    /// Decides which.
    pub seed: u64,
    /// A label that has no examples, since its rows have none of the others.
    pub out_of_scope: Option<String>,
}

/// Draws the examples, the same for the same rows and seed.
///
/// # Errors
/// If a label has too few rows, or there is none.
pub fn draw(records: &[Record], fields: &Fields, draw: &Draw) -> Result<BTreeMap<String, Vec<String>>> {
    let mut by_label: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for record in records {
        let label = fields.label(record)?;
        if draw.out_of_scope.as_deref() != Some(label) {
            by_label.entry(label).or_default().push(record.text(&fields.text)?);
        }
    }
    ensure!(!by_label.is_empty(), "--train has no rows with a label");
    let mut random = fastrand::Rng::with_seed(draw.seed);
    let mut drawn = BTreeMap::new();
    for (label, mut texts) in by_label {
        let rows = texts.len();
        ensure!(
            rows >= draw.count,
            "--train has {rows} rows of {label:?}, fewer than --examples {}",
            draw.count
        );
        random.shuffle(&mut texts);
        texts.truncate(draw.count);
        drawn.insert(label.to_owned(), texts.into_iter().map(str::to_owned).collect());
    }
    Ok(drawn)
}

/// Classifies the rows by the examples, by the code that serves policies with `classifier: examples`.
///
/// # Errors
/// If a row has a label that has no examples, or the model fails.
pub(crate) async fn measure(
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

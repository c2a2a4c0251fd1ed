//! A head that predicts a score with several dimensions.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;

use super::table::{or_dash, width};
use crate::eval::{Dimension, Section};
use llm_router_classifier::model::prediction::HeadOutput;
use llm_router_classifier::records::Record;

/// The field with the true score.
const SCORE: &str = "score";

/// How well a score and its dimensions follow the true numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// The dimensions that rows have numbers for.
    pub dimensions: Vec<Dimension>,
}

impl Score {
    /// Compares each dimension with the rows' field of that name, and the score with the field `score`. The dimension of a
    /// head with only one is compared with the field `label`. `weights` of the dimensions replace a missing `score`.
    ///
    /// # Errors
    /// If no row has any of these fields, or a value is not a number.
    pub fn compute(
        records: &[Record],
        scores: &[HeadOutput],
        label: &str,
        weights: Option<&[f32]>,
    ) -> Result<Self> {
        let names = &scores.first().context("the data has no rows")?.labels;
        let mut dimensions = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let predicted = |scores: &HeadOutput| scores.confidences.get(index).copied();
            let field = if names.len() == 1 && !has(records, name) { label } else { name };
            dimensions
                .extend(dimension(name, records, scores, predicted, |record| record.number_if_any(field))?);
        }
        let total = |record: &Record| match (record.number_if_any(SCORE)?, weights) {
            (None, Some(weights)) => weighted(record, names, weights),
            (given, _) => Ok(given),
        };
        if names.len() > 1 {
            dimensions.extend(dimension(SCORE, records, scores, |scores| scores.score, total)?);
        }
        ensure!(
            !dimensions.is_empty(),
            "the rows have none of the fields {names:?}, {SCORE:?}, nor {label:?} with numbers"
        );
        Ok(Self { dimensions })
    }
}

fn has(records: &[Record], field: &str) -> bool {
    records.iter().any(|record| record.fields.contains_key(field))
}

/// The weighted sum of a row's dimensions, if it has all that have a weight.
fn weighted(record: &Record, names: &[String], weights: &[f32]) -> Result<Option<f64>> {
    let mut sum = 0.0;
    for (name, &weight) in names.iter().zip(weights).filter(|(_, weight)| **weight > 0.0) {
        let Some(number) = record.number_if_any(name)? else { return Ok(None) };
        sum += number * f64::from(weight);
    }
    Ok(Some(sum))
}

/// Compares what the head predicts for a dimension with the rows that have a true number. None if no row
/// does.
fn dimension(
    name: &str,
    records: &[Record],
    scores: &[HeadOutput],
    predicted: impl Fn(&HeadOutput) -> Option<f32>,
    truth: impl Fn(&Record) -> Result<Option<f64>>,
) -> Result<Option<Dimension>> {
    let mut pairs = Vec::new();
    for (record, scores) in records.iter().zip(scores) {
        if let (Some(truth), Some(predicted)) = (truth(record)?, predicted(scores)) {
            pairs.push((f64::from(predicted), truth));
        }
    }
    Ok((!pairs.is_empty()).then(|| Dimension::compute(name, &pairs)))
}

impl Section for Score {
    fn name(&self) -> &'static str {
        "score"
    }

    fn table(&self) -> String {
        let wide = width(self.dimensions.iter().map(|dimension| dimension.name.as_str()));
        let mut text = format!(
            "{:<wide$}{:>7}{:>10}{:>12}{:>16}\n",
            "", "rows", "Spearman", "mean error", "of the median"
        );
        for Dimension { name, rows, spearman, mean_absolute_error, median_baseline_error, .. } in
            &self.dimensions
        {
            let spearman = or_dash(*spearman);
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "{name:<wide$}{rows:>7}{spearman:>10}{mean_absolute_error:>12.3}{median_baseline_error:>16.3}"
            );
        }
        text
    }

    fn summary(&self) -> Vec<(&'static str, Option<f64>)> {
        let score = self.dimensions.last();
        vec![
            ("Spearman", score.and_then(|score| score.spearman)),
            ("mean error", score.map(|score| score.mean_absolute_error)),
        ]
    }

    fn json(&self) -> Result<Value> {
        Ok(serde_json::to_value(self)?)
    }
}

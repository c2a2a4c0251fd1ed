//! Detection: how well a head distinguishes rows with some labels, the positives, from all others.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::win_rate::probability;
use crate::eval::{Fields, OperatingPoint, Section, auroc, recall_at};
use llm_router_classifier::model::prediction::HeadOutput;
use llm_router_classifier::records::Record;

/// How well positives are distinguished from negatives.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Detection {
    /// The positive labels.
    pub positive: Vec<String>,
    /// The number of rows with one of them.
    pub positives: usize,
    /// The number of all other rows.
    pub negatives: usize,
    /// The area under the receiver operating characteristic.
    pub auroc: f64,
    /// The operating point at the given rate of false positives.
    pub at: OperatingPoint,
}

impl Detection {
    /// Ranks rows by the sum of the probabilities of the positive labels, or by the score.
    ///
    /// # Errors
    /// If the head lacks one of the labels, or there are no positives or no negatives.
    pub fn compute(
        records: &[Record],
        fields: &Fields,
        scores: &[HeadOutput],
        positive: &[String],
        false_positive_rate: f64,
    ) -> Result<Self> {
        let (mut positives, mut negatives) = (Vec::new(), Vec::new());
        for (record, scores) in records.iter().zip(scores) {
            let score = scores.score.map_or_else(|| probability(scores, positive), Ok)?;
            let is_positive =
                fields.labels(record)?.iter().any(|label| positive.iter().any(|known| known == label));
            if is_positive { &mut positives } else { &mut negatives }.push(f64::from(score));
        }
        let missing = "there must be rows with a label of --positive, and rows without";
        Ok(Self {
            positive: positive.to_vec(),
            positives: positives.len(),
            negatives: negatives.len(),
            auroc: auroc(&positives, &negatives).context(missing)?,
            at: recall_at(&positives, &negatives, false_positive_rate).context(missing)?,
        })
    }
}

impl Section for Detection {
    fn name(&self) -> &'static str {
        "detection"
    }

    fn table(&self) -> String {
        let OperatingPoint { threshold, false_positive_rate, recall } = self.at;
        format!(
            "{} positive rows ({}), {} negative: AUROC {:.3}\nabove {threshold:.3}: {:.1} % of the positives, {:.2} % \
             of the negatives\n",
            self.positives,
            self.positive.join(", "),
            self.negatives,
            self.auroc,
            100.0 * recall,
            100.0 * false_positive_rate,
        )
    }

    fn json(&self) -> Result<Value> {
        Ok(serde_json::to_value(self)?)
    }
}

//! Telling the rows with some labels, the positives, from all others.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::routing_score;
use crate::eval::{Fields, OperatingPoint, Section, auroc, recall_at};
use llm_router_classifier::model::prediction::HeadOutput;
use llm_router_classifier::records::Record;

/// How well positives are told from negatives.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Detection {
    /// The labels that are positive.
    pub positive: Vec<String>,
    /// Number of rows that have one of them.
    pub positives: usize,
    /// Number of the others.
    pub negatives: usize,
    /// Area under the receiver operating characteristic.
    pub auroc: f64,
    /// At a rate of false positives that is bearable.
    pub at: OperatingPoint,
}

impl Detection {
    /// The more likely a row's positive labels together, or the higher its score, the more positive it is.
    ///
    /// # Errors
    /// If the head has labels, but not these; or the rows are not of both kinds.
    pub fn of(
        records: &[Record],
        fields: &Fields,
        scores: &[HeadOutput],
        positive: &[String],
        false_positive_rate: f64,
    ) -> Result<Self> {
        let (mut positives, mut negatives) = (Vec::new(), Vec::new());
        for (record, scores) in records.iter().zip(scores) {
            let said = f64::from(routing_score(scores, positive)?);
            let is = fields.labels(record)?.iter().any(|label| positive.iter().any(|known| known == label));
            if is { &mut positives } else { &mut negatives }.push(said);
        }
        let kinds = "there must be rows with a label of --positive, and rows without";
        Ok(Self {
            positive: positive.to_vec(),
            positives: positives.len(),
            negatives: negatives.len(),
            auroc: auroc(&positives, &negatives).context(kinds)?,
            at: recall_at(&positives, &negatives, false_positive_rate).context(kinds)?,
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

//! Detection: how well a head distinguishes rows with some labels, the positives, from all others; for all rows, and for a group of them.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::table::or_dash;
use super::win_rate::probability;
use crate::eval::{Fields, OperatingPoint, Section, auroc, fraction, recall_at};
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

/// The scores of the rows with one of the labels, and of the others.
struct Scores {
    positives: Vec<f64>,
    negatives: Vec<f64>,
}

impl Scores {
    fn of(records: &[Record], fields: &Fields, scores: &[HeadOutput], positive: &[String]) -> Result<Self> {
        let (mut positives, mut negatives) = (Vec::new(), Vec::new());
        for (record, scores) in records.iter().zip(scores) {
            let score = scores.score.map_or_else(|| probability(scores, positive), Ok)?;
            let is_positive =
                fields.labels(record)?.iter().any(|label| positive.iter().any(|known| known == label));
            if is_positive { &mut positives } else { &mut negatives }.push(f64::from(score));
        }
        Ok(Self { positives, negatives })
    }
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
        let Scores { positives, negatives } = Scores::of(records, fields, scores, positive)?;
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

/// How many of a group's rows are above a threshold that is the same for all groups.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupDetection {
    /// How well the group's positives are distinguished from its negatives. None without either.
    pub auroc: Option<f64>,
    /// The fraction of its positives above the threshold. None without positives.
    pub recall: Option<f64>,
    /// The fraction of its negatives above the threshold. None without negatives.
    pub false_positive_rate: Option<f64>,
}

impl GroupDetection {
    /// Counts the rows above the threshold.
    ///
    /// # Errors
    /// If the head lacks one of the labels.
    pub fn compute(
        records: &[Record],
        fields: &Fields,
        scores: &[HeadOutput],
        positive: &[String],
        threshold: f64,
    ) -> Result<Self> {
        let Scores { positives, negatives } = Scores::of(records, fields, scores, positive)?;
        let above = |scores: &[f64]| {
            let above = scores.iter().filter(|score| **score > threshold).count();
            (!scores.is_empty()).then(|| fraction(above, scores.len()))
        };
        Ok(Self {
            auroc: auroc(&positives, &negatives),
            recall: above(&positives),
            false_positive_rate: above(&negatives),
        })
    }
}

impl Section for GroupDetection {
    fn name(&self) -> &'static str {
        "detection"
    }

    fn table(&self) -> String {
        self.summary().iter().map(|(name, number)| format!("{name} {}   ", or_dash(*number))).collect()
    }

    fn summary(&self) -> Vec<(&'static str, Option<f64>)> {
        vec![("AUROC", self.auroc), ("recall", self.recall), ("false pos.", self.false_positive_rate)]
    }

    fn json(&self) -> Result<Value> {
        Ok(serde_json::to_value(self)?)
    }
}

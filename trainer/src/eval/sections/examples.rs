//! How well example prompts route, without training.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use crate::eval::{Evaluation, OperatingPoint, Section, auroc, recall_at};
use llm_router_classifier::model::prediction::HeadOutput;

/// The share of rows of unknown labels that may pass for known ones where a threshold is told.
const PASSED: f64 = 0.1;

/// How well labels are found by likeness to examples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Examples {
    /// Examples of each label.
    pub examples: usize,
    /// Examples in all.
    pub total: usize,
    /// Of the rows with a known label.
    #[serde(flatten)]
    pub agreement: Evaluation,
    /// How well likeness tells rows with a known label from those out of scope, if there are any.
    pub out_of_scope: Option<OutOfScope>,
}

/// Telling rows that have none of the labels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutOfScope {
    /// Number of such rows.
    pub rows: usize,
    /// Area under the receiver operating characteristic of the likeness to the nearest label.
    pub auroc: f64,
    /// A `min_confidence` that one of ten such rows passes, and the share of the others that pass.
    pub min_confidence: OperatingPoint,
}

impl Examples {
    /// Compares the nearest label of each row with its own, given as an index; none is out of scope.
    ///
    /// # Errors
    /// If there is no row with a known label.
    pub fn of(examples: usize, total: usize, scores: &[HeadOutput], truth: &[Option<i64>]) -> Result<Self> {
        let labels = &scores.first().context("the data have no rows")?.labels;
        let (mut predicted, mut known) = (Vec::new(), Vec::new());
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for (scores, truth) in scores.iter().zip(truth) {
            let top = scores.confidences.iter().zip(0i64..).max_by(|a, b| a.0.total_cmp(b.0));
            let (&likeness, top) = top.context("there are no examples")?;
            match truth {
                Some(truth) => {
                    inside.push(f64::from(likeness));
                    predicted.push(top);
                    known.push(*truth);
                }
                None => outside.push(f64::from(likeness)),
            }
        }
        let out_of_scope = auroc(&inside, &outside).zip(recall_at(&inside, &outside, PASSED));
        Ok(Self {
            examples,
            total,
            agreement: Evaluation::new(labels, &predicted, &known),
            out_of_scope: out_of_scope.map(|(auroc, min_confidence)| OutOfScope {
                rows: outside.len(),
                auroc,
                min_confidence,
            }),
        })
    }
}

impl Section for Examples {
    fn name(&self) -> &'static str {
        "examples"
    }

    fn table(&self) -> String {
        let Evaluation { rows, accuracy, macro_f1, labels, .. } = &self.agreement;
        let mut text = format!(
            "{} examples of each of {} labels, {} in all\naccuracy {accuracy:.3}   macro-F1 {macro_f1:.3}   of {rows} \
             rows\n",
            self.examples,
            labels.len(),
            self.total
        );
        if let Some(OutOfScope { rows, auroc, min_confidence }) = &self.out_of_scope {
            text += &format!(
                "{rows} rows out of scope: AUROC {auroc:.3}; min_confidence {:.3} is passed by {:.1} % of them and by \
                 {:.1} % of the others\n",
                min_confidence.threshold,
                100.0 * min_confidence.false_positive_rate,
                100.0 * min_confidence.recall
            );
        }
        text
    }

    fn json(&self) -> Result<Value> {
        Ok(serde_json::to_value(self)?)
    }
}

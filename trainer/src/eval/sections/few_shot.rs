//! Few-shot classification: how well example prompts route, without training.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use crate::eval::{Evaluation, OperatingPoint, Section, auroc, recall_at};
use llm_router_classifier::model::prediction::HeadOutput;

/// The fraction of rows out of scope that pass the reported threshold.
const PASS_RATE: f64 = 0.1;

/// How well labels are predicted by similarity to examples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FewShot {
    /// The number of examples of each label.
    pub examples: usize,
    /// The number of all examples.
    pub total: usize,
    /// The agreement on rows with a known label.
    #[serde(flatten)]
    pub agreement: Evaluation,
    /// How well similarity distinguishes rows with a known label from rows out of scope, if there are any.
    pub out_of_scope: Option<OutOfScope>,
}

/// How well rows without a known label are recognized.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutOfScope {
    /// The number of these rows.
    pub rows: usize,
    /// The area under the receiver operating characteristic of the similarity to the nearest label.
    pub auroc: f64,
    /// A `min_confidence` that one in ten of these rows passes, and the fraction of the other rows that pass.
    pub min_confidence: OperatingPoint,
}

impl FewShot {
    /// Compares the nearest label of each row with its true one, given as an index, or None if it is out of scope.
    ///
    /// # Errors
    /// If there is no row with a known label.
    pub fn compute(
        examples: usize,
        total: usize,
        scores: &[HeadOutput],
        truth: &[Option<i64>],
    ) -> Result<Self> {
        let labels = &scores.first().context("the data has no rows")?.labels;
        let (mut predicted, mut known) = (Vec::new(), Vec::new());
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for (scores, truth) in scores.iter().zip(truth) {
            let top = scores.confidences.iter().zip(0i64..).max_by(|a, b| a.0.total_cmp(b.0));
            let (&similarity, top) = top.context("there are no examples")?;
            match truth {
                Some(truth) => {
                    inside.push(f64::from(similarity));
                    predicted.push(top);
                    known.push(*truth);
                }
                None => outside.push(f64::from(similarity)),
            }
        }
        let out_of_scope = auroc(&inside, &outside).zip(recall_at(&inside, &outside, PASS_RATE));
        Ok(Self {
            examples,
            total,
            agreement: Evaluation::compute(labels, &predicted, &known),
            out_of_scope: out_of_scope.map(|(auroc, min_confidence)| OutOfScope {
                rows: outside.len(),
                auroc,
                min_confidence,
            }),
        })
    }
}

impl Section for FewShot {
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
                "{rows} rows out of scope: AUROC {auroc:.3}; {:.3} as min_confidence lets {:.1} % of them pass, and {:.1} % of \
                 the others\n",
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

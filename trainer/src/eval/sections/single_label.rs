//! A head that predicts one label.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::table::width;
use crate::eval::{Abstention, Confusion, Evaluation, Fields, Reliability, Section, drawing, label_indices};
use llm_router_classifier::model::prediction::HeadOutput;
use llm_router_classifier::records::Record;

/// How well predictions agree with labels, and how reliable their confidences are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SingleLabel {
    /// Accuracy, macro-F1, and the agreement of each label.
    #[serde(flatten)]
    pub agreement: Evaluation,
    /// The reliability of the most likely label's confidence.
    #[serde(flatten)]
    pub calibration: Reliability,
    /// The mean negative logarithm of the true label's probability.
    pub log_loss: f64,
    /// The accuracy if the least confident predictions are left out.
    pub abstention: Abstention,
    /// The confusion matrix.
    pub confusion: Confusion,
}

impl SingleLabel {
    /// Compares the predictions with the labels of the rows.
    ///
    /// # Errors
    /// If a row has no label, or a label that the head lacks.
    pub fn compute(records: &[Record], fields: &Fields, scores: &[HeadOutput]) -> Result<Self> {
        let labels = &scores.first().context("the data has no rows")?.labels;
        let truth = label_indices(records, fields, labels)?;
        let (mut predicted, mut outcomes) = (Vec::new(), Vec::new());
        let mut log_loss = 0.0;
        for (scores, &truth) in scores.iter().zip(&truth) {
            let top = scores.confidences.iter().zip(0i64..).max_by(|a, b| a.0.total_cmp(b.0));
            let (&confidence, top) = top.context("the head has no labels")?;
            let of_truth = usize::try_from(truth).ok().and_then(|truth| scores.confidences.get(truth));
            log_loss -= f64::from(of_truth.copied().unwrap_or_default().max(f32::MIN_POSITIVE)).ln();
            predicted.push(top);
            outcomes.push((f64::from(confidence), top == truth));
        }
        Ok(Self {
            agreement: Evaluation::compute(labels, &predicted, &truth),
            calibration: Reliability::from_outcomes(&outcomes),
            abstention: Abstention::from_outcomes(&outcomes),
            log_loss: log_loss / truth.len().max(1) as f64,
            confusion: Confusion::compute(labels, &predicted, &truth),
        })
    }
}

impl Section for SingleLabel {
    fn name(&self) -> &'static str {
        "labels"
    }

    fn table(&self) -> String {
        let Evaluation { accuracy, macro_f1, majority_accuracy, labels, .. } = &self.agreement;
        let Reliability { ece, .. } = &self.calibration;
        let wide = width(labels.iter().map(|label| label.label.as_str()));
        let mut text = format!(
            "accuracy {accuracy:.3}   macro-F1 {macro_f1:.3}   ECE {ece:.3}   log loss {:.3}   \
             (always the most frequent label: {majority_accuracy:.3})\n\n{:<wide$}{:>7}{:>11}{:>8}{:>7}\n",
            self.log_loss, "label", "rows", "precision", "recall", "F1"
        );
        for label in labels {
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "{:<wide$}{:>7}{:>11.3}{:>8.3}{:>7.3}",
                label.label, label.rows, label.precision, label.recall, label.f1
            );
        }
        text += "\nif prompts with less confidence keep their default model:\n\n";
        // Writing to a String does not fail.
        let _ = writeln!(text, "{:>10}{:>12}{:>10}", "decided", "confidence", "accuracy");
        for point in &self.abstention.points {
            let _ = writeln!(
                text,
                "{:>8.1} %{:>12.3}{:>10.3}",
                100.0 * point.coverage,
                point.confidence,
                point.accuracy
            );
        }
        text
    }

    fn summary(&self) -> Vec<(&'static str, Option<f64>)> {
        let Evaluation { accuracy, macro_f1, .. } = self.agreement;
        vec![("accuracy", Some(accuracy)), ("macro-F1", Some(macro_f1)), ("ECE", Some(self.calibration.ece))]
    }

    fn json(&self) -> Result<Value> {
        Ok(serde_json::to_value(self)?)
    }

    fn drawings(&self) -> Result<Vec<(&'static str, String)>> {
        Ok(vec![
            ("confusion.svg", drawing::confusion(&self.confusion)?),
            ("reliability.svg", drawing::reliability(&self.calibration)?),
        ])
    }
}

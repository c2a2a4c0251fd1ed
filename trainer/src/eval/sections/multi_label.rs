//! A head that predicts any number of labels.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::table::{or_dash, width};
use crate::eval::{Fields, LabelEvaluation, Reliability, Section, auroc, drawing};
use llm_router_classifier::model::prediction::HeadOutput;
use llm_router_classifier::records::Record;

/// A label is predicted above this probability.
const THRESHOLD: f32 = 0.5;

/// How well the predicted labels, those with a probability above 0.5, agree with the true ones.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MultiLabel {
    /// The fraction of rows with all labels right.
    pub exact: f64,
    /// The mean F1 of the labels that have rows.
    pub macro_f1: f64,
    /// The reliability of all labels' probabilities in all rows.
    #[serde(flatten)]
    pub calibration: Reliability,
    /// The results of each label.
    pub labels: Vec<Label>,
}

/// The results of one label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Label {
    /// The agreement of the predictions.
    #[serde(flatten)]
    pub agreement: LabelEvaluation,
    /// How well its probability distinguishes rows with the label from others.
    pub auroc: Option<f64>,
}

impl MultiLabel {
    /// Compares the predictions with the labels of the rows.
    ///
    /// # Errors
    /// If a row has no list of labels, or a label that the head lacks.
    pub fn compute(records: &[Record], fields: &Fields, scores: &[HeadOutput]) -> Result<Self> {
        let names = &scores.first().context("the data has no rows")?.labels;
        let truth = |record| fields.labels_among(record, names);
        let truths: Vec<_> = records.iter().map(truth).collect::<Result<_>>()?;
        let mut outcomes = Vec::new();
        let labels: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let probabilities =
                    scores.iter().map(|scores| scores.confidences.get(index).copied().unwrap_or_default());
                let truth = truths.iter().map(|truth| truth.contains(&name.as_str()));
                let rows: Vec<_> = probabilities.zip(truth).collect();
                outcomes.extend(rows.iter().map(|&(probability, truth)| (f64::from(probability), truth)));
                Label::compute(name, &rows)
            })
            .collect();
        let exact = truths.iter().zip(scores).filter(|(truth, scores)| {
            scores.iter().all(|(label, probability)| (probability > THRESHOLD) == truth.contains(&label))
        });
        let with_rows = || labels.iter().map(|label: &Label| &label.agreement).filter(|label| label.rows > 0);
        Ok(Self {
            exact: exact.count() as f64 / records.len().max(1) as f64,
            macro_f1: with_rows().map(|label| label.f1).sum::<f64>() / with_rows().count().max(1) as f64,
            calibration: Reliability::from_outcomes(&outcomes),
            labels,
        })
    }
}

impl Label {
    fn compute(name: &str, rows: &[(f32, bool)]) -> Self {
        let scores = |wanted| -> Vec<f64> {
            rows.iter()
                .filter(|(_, truth)| *truth == wanted)
                .map(|(probability, _)| f64::from(*probability))
                .collect()
        };
        Self {
            agreement: LabelEvaluation::from_pairs(
                name,
                rows.iter().map(|(probability, truth)| (*probability > THRESHOLD, *truth)),
            ),
            auroc: auroc(&scores(true), &scores(false)),
        }
    }
}

impl Section for MultiLabel {
    fn name(&self) -> &'static str {
        "labels"
    }

    fn table(&self) -> String {
        let wide = width(self.labels.iter().map(|label| label.agreement.label.as_str()));
        let mut text = format!(
            "all labels right {:.3}   macro-F1 {:.3}   ECE {:.3}\n\n{:<wide$}{:>7}{:>11}{:>8}{:>7}{:>7}\n",
            self.exact,
            self.macro_f1,
            self.calibration.ece,
            "label",
            "rows",
            "precision",
            "recall",
            "F1",
            "AUROC"
        );
        for Label { agreement: LabelEvaluation { label, rows, precision, recall, f1 }, auroc } in &self.labels
        {
            let auroc = or_dash(*auroc);
            // Writing to a String does not fail.
            let _ =
                writeln!(text, "{label:<wide$}{rows:>7}{precision:>11.3}{recall:>8.3}{f1:>7.3}{auroc:>7}");
        }
        text
    }

    fn summary(&self) -> Vec<(&'static str, Option<f64>)> {
        let Self { exact, macro_f1, .. } = *self;
        vec![("all right", Some(exact)), ("macro-F1", Some(macro_f1)), ("ECE", Some(self.calibration.ece))]
    }

    fn json(&self) -> Result<Value> {
        Ok(serde_json::to_value(self)?)
    }

    fn drawings(&self) -> Result<Vec<(&'static str, String)>> {
        Ok(vec![("reliability.svg", drawing::reliability(&self.calibration)?)])
    }
}

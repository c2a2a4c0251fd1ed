//! The plan of a training: which heads, on which data. It is read from YAML (`train --plan FILE`) or made from the options
//! for one head.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

pub use source::Source;

use super::weighting::ClassWeights;
use llm_router_classifier::model::pooling::Pooling;
use llm_router_classifier::model::text_features::TextFeature;

/// Heads that are trained together.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The heads.
    pub heads: Vec<HeadPlan>,
}

/// The plan of one head.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadPlan {
    /// The head's name.
    pub name: String,
    /// What it predicts.
    #[serde(default)]
    pub kind: HeadKind,
    /// The encoder layer that it reads, from 1. Default: the last.
    pub layer: Option<usize>,
    /// How the layer's token vectors become one vector.
    #[serde(default)]
    pub pooling: Pooling,
    /// Text features that join the vector.
    #[serde(default)]
    pub features: Vec<TextFeature>,
    /// Rows that are split into training, validation and test rows.
    pub data: Vec<Source>,
    /// Rows that are only reported on: external validation data.
    #[serde(default)]
    pub validation: Vec<Source>,
    /// The fraction of `data` that is held out for the report. Default: 0.05, or 0 if there is `validation`.
    pub held_out: Option<f64>,
    /// The field with the text.
    #[serde(default = "text_field")]
    pub text_field: String,
    /// The field with the label, or the list of labels.
    #[serde(default = "label_field")]
    pub label_field: String,
    /// The fields with the numbers of a score, from 0 to 1. Each field is a dimension.
    #[serde(default = "score_fields")]
    pub score_fields: Vec<String>,
    /// The weight of each dimension in the score. Default: all the same.
    #[serde(default)]
    pub weights: BTreeMap<String, f32>,
    /// How labels are weighted when an adapter or the whole encoder is trained.
    #[serde(default)]
    pub class_weights: ClassWeights,
    /// The weight of the head's loss among those of all heads.
    #[serde(default = "source::one")]
    pub loss_weight: f64,
}

/// What a head predicts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum HeadKind {
    /// One of several labels.
    #[default]
    SingleLabel,
    /// Any of several labels.
    MultiLabel,
    /// Numbers from 0 to 1.
    Score,
}

impl Plan {
    /// Reads a YAML file.
    ///
    /// # Errors
    /// If the file is missing or invalid. The error names file and field.
    pub fn read(path: &Path) -> Result<Self> {
        let fail = || format!("cannot read {}", path.display());
        let yaml = std::fs::read_to_string(path).with_context(fail)?;
        let plan: Self = serde_saphyr::from_str(&yaml).with_context(fail)?;
        plan.check().with_context(|| format!("in {}", path.display()))?;
        Ok(plan)
    }

    /// Rejects a plan that cannot be carried out.
    ///
    /// # Errors
    /// Names the head and the field.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.heads.is_empty(), "heads: there must be at least one");
        let mut names = BTreeSet::new();
        for head in &self.heads {
            ensure!(names.insert(&head.name), "two heads are called {:?}", head.name);
            head.check().with_context(|| format!("head {:?}", head.name))?;
        }
        Ok(())
    }
}

impl HeadPlan {
    /// A head with default settings.
    #[must_use]
    pub fn new(name: &str, data: Vec<Source>) -> Self {
        Self {
            name: name.to_owned(),
            kind: HeadKind::default(),
            layer: None,
            pooling: Pooling::default(),
            features: Vec::new(),
            data,
            validation: Vec::new(),
            held_out: None,
            text_field: text_field(),
            label_field: label_field(),
            score_fields: score_fields(),
            weights: BTreeMap::new(),
            class_weights: ClassWeights::default(),
            loss_weight: 1.0,
        }
    }

    /// The fraction of the rows that is held out for the report.
    #[must_use]
    pub fn test_fraction(&self) -> f64 {
        self.held_out.unwrap_or(if self.validation.is_empty() { 0.05 } else { 0.0 })
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.data.is_empty(), "data: there must be at least one file");
        ensure!(self.layer != Some(0), "layer: layers are numbered from 1");
        ensure!(self.pooling != Pooling::None, "pooling: \"none\" leaves no vector for a head to read");
        ensure!((0.0..0.9).contains(&self.test_fraction()), "held_out: must be from 0 to less than 0.9");
        ensure!(self.loss_weight.is_finite() && self.loss_weight > 0.0, "loss_weight: must be positive");
        for source in self.data.iter().chain(&self.validation) {
            ensure!(
                source.weight.is_finite() && source.weight > 0.0,
                "{}: weight must be positive",
                source.path.display()
            );
        }
        for (name, weight) in &self.weights {
            ensure!(
                self.kind == HeadKind::Score && self.score_fields.contains(name),
                "weights: {name:?} is not a dimension of a score"
            );
            ensure!(
                weight.is_finite() && *weight >= 0.0,
                "weights: the weight of {name:?} must not be negative"
            );
        }
        ensure!(
            self.weights.is_empty() || self.weights.values().any(|weight| *weight > 0.0),
            "weights: at least one must be positive"
        );
        Ok(())
    }
}

fn text_field() -> String {
    "text".to_owned()
}

fn label_field() -> String {
    "label".to_owned()
}

fn score_fields() -> Vec<String> {
    vec!["score".to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Plan> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), yaml).unwrap();
        Plan::read(file.path())
    }

    #[test]
    fn a_plan_has_heads_with_defaults_and_sources_with_settings() {
        let plan = read(
            "heads:\n\
             - name: task\n  data: [a.jsonl, {path: b.csv, map: {x: X}, weight: 2, label: code}]\n\
             - name: complexity\n  kind: score\n  score_fields: [reasoning, depth]\n  weights: {reasoning: 2}\n\
             \x20 features: [log_length, numbers]\n  layer: 4\n  data: [c.jsonl]\n  validation: [d.jsonl]\n",
        )
        .unwrap();
        let [task, complexity] = plan.heads.try_into().unwrap();
        assert_eq!((task.kind, task.layer, task.test_fraction()), (HeadKind::SingleLabel, None, 0.05));
        assert_eq!(task.data[0].path, Path::new("a.jsonl"));
        assert_eq!((task.data[1].map["x"].as_str(), task.data[1].weight), ("X", 2.0));
        assert_eq!(complexity.features, [TextFeature::LogLength, TextFeature::Numbers]);
        assert_eq!(
            (complexity.kind, complexity.layer, complexity.test_fraction()),
            (HeadKind::Score, Some(4), 0.0)
        );
    }

    /// YAML 1.1 reads these words as booleans and numbers.
    #[test]
    fn a_label_is_read_as_it_is_written() {
        for word in ["Y", "N", "yes", "no", "On", "off", "true", "1", "1.50"] {
            let plan = read(&format!(
                "heads:\n\
                 - name: a\n  data: [{{path: b.csv, label: {word}, only: [{word}], map: {{{word}: {word}}}}}]\n"
            ));
            let source = plan.unwrap().heads.remove(0).data.remove(0);
            assert_eq!(source.only.first().map(String::as_str), Some(word));
            assert_eq!(
                source.map.first_key_value().map(|(from, to)| (from.as_str(), to.as_str())),
                Some((word, word))
            );
            assert_eq!(source.label.as_deref(), Some(word));
        }
    }

    #[test]
    fn an_invalid_field_is_named() {
        for (yaml, wrong) in [
            ("heads: []", "heads"),
            ("heads: [{name: a, data: []}]", "head \"a\""),
            ("heads: [{name: a, data: [x], layr: 1}]", "layr"),
            ("heads: [{name: a, data: [x], layer: 0}]", "layer"),
            ("heads: [{name: a, data: [{path: x, weight: 0}]}]", "weight"),
            ("heads: [{name: a, data: [x], weights: {b: 1}}]", "\"b\""),
            ("heads: [{name: a, data: [x]}, {name: a, data: [x]}]", "two heads"),
            ("heads: [{name: a, data: [x], held_out: 1}]", "held_out"),
            ("heads: [{name: a, data: [{path: x, lable: y}]}]", "lable"),
            ("heads: [{name: a, data: [{label: y}]}]", "path"),
            ("heads: [{name: a, kind: score, data: [x], weights: {score: 0}}]", "weights"),
        ] {
            let error = format!("{:#}", read(yaml).unwrap_err());
            assert!(error.contains(wrong), "{error}");
        }
    }
}

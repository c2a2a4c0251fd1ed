//! The classification heads of a model: a linear layer each, over a vector for each text, of one encoder layer.
//!
//! The last layer of an encoder trained for similarity knows what a text is about, and has forgotten much of what it
//! asks for; a layer in the middle still knows. So each head says which one it reads.

mod output;

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tch::Tensor;

pub use output::Output;

use super::pooling::Pooling;
use super::scores::Scores;
use super::text_features::{ScaledFeature, TextFeatures};
use super::weights::Weight;

/// Longest label in bytes; the filter refuses longer ones, since labels go into headers and stats.
const MAX_LABEL: usize = 128;

/// A head. Clones share the weights.
#[derive(Debug, Clone)]
pub struct Head {
    name: Arc<str>,
    /// What it can answer, or the dimensions of its score.
    labels: Arc<[String]>,
    reads: Reads,
    /// None if the vectors that it reads are logits already.
    linear: Option<Linear>,
    output: Output,
}

/// Which vectors a head reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Reads {
    /// The encoder layer; the first is 1.
    pub layer: usize,
    /// What is made of its token vectors.
    pub pooling: Pooling,
    /// What is counted in the text, after the vector's numbers.
    pub features: Vec<ScaledFeature>,
}

impl Reads {
    /// Width of what is read, for token vectors of this width.
    #[must_use]
    pub fn width(&self, hidden_size: i64) -> i64 {
        self.pooling.width(hidden_size) + self.features.len() as i64
    }

    /// One vector for each text, `[texts, width]`, of its token vectors after each of the encoder's layers, each
    /// `[texts, tokens, hidden]`, without those that `mask` `[texts, tokens]` says are padding; and of what was counted
    /// in it.
    ///
    /// # Errors
    /// If the layer is not among them, or libtorch fails.
    pub fn vectors(
        &self,
        hidden_states: &[Tensor],
        mask: Option<&Tensor>,
        texts: &[&TextFeatures],
    ) -> Result<Tensor> {
        let Self { layer, pooling, features } = self;
        let hidden = layer.checked_sub(1).and_then(|index| hidden_states.get(index));
        let pooled =
            pooling.apply(hidden.with_context(|| format!("the encoder has no layer {layer}"))?, mask)?;
        if features.is_empty() {
            return Ok(pooled);
        }
        let counted: Vec<f32> =
            texts.iter().flat_map(|text| features.iter().map(|feature| feature.of(text))).collect();
        let counted = Tensor::f_from_slice(&counted)?.f_view([texts.len() as i64, features.len() as i64])?;
        Ok(Tensor::f_cat(&[&pooled, &counted.f_to_device(pooled.device())?], 1)?)
    }
}

/// `weight · vector + bias`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[outputs, width]`
    pub weight: Weight,
    /// `[outputs]`
    pub bias: Weight,
}

impl Head {
    /// Makes a head.
    ///
    /// # Errors
    /// If the name cannot be part of a header's name, or a label cannot be a header's value.
    pub fn new(
        name: &str,
        labels: Vec<String>,
        reads: Reads,
        linear: Option<Linear>,
        output: Output,
    ) -> Result<Self> {
        check_name(name)?;
        check_labels(&labels, &output)?;
        Ok(Self { name: name.into(), labels: labels.into(), reads, linear, output })
    }

    /// The head's name, which is its folder's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it can answer, or the dimensions of its score.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Which vectors it reads.
    #[must_use]
    pub fn reads(&self) -> &Reads {
        &self.reads
    }

    /// The linear layer, unless the vectors that it reads are logits already.
    #[must_use]
    pub fn linear(&self) -> Option<&Linear> {
        self.linear.as_ref()
    }

    /// What the logits mean.
    #[must_use]
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// What the head says of each text, by what it reads of it; see [`Reads::vectors`].
    ///
    /// # Errors
    /// If the head's layer is not among the states, or libtorch fails.
    pub fn score(
        &self,
        hidden_states: &[Tensor],
        mask: Option<&Tensor>,
        texts: &[&TextFeatures],
    ) -> Result<Vec<Scores>> {
        let vectors = self.reads.vectors(hidden_states, mask, texts)?;
        let logits = match &self.linear {
            Some(Linear { weight, bias }) => vectors.f_linear(weight, Some(&**bias))?,
            None => vectors,
        };
        let scores = |(confidences, score)| Scores {
            head: self.name.clone(),
            labels: self.labels.clone(),
            confidences,
            score,
        };
        Ok(self.output.read(&logits)?.into_iter().map(scores).collect())
    }
}

/// Refuses a head's name that cannot be part of a header's name, as it is in `x-llm-NAME`.
fn check_name(name: &str) -> Result<()> {
    let fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    ensure!(
        !name.is_empty() && name.bytes().all(fit),
        "a head's name must be of a-z, 0-9 and '-', because it becomes part of a header's name; {name:?} is not"
    );
    // What dynamic metadata has beside the heads, and what policies call their own examples.
    const TAKEN: [&str; 3] = ["read", "decision", "examples"];
    ensure!(!TAKEN.contains(&name), "a head cannot be called {name:?}: that name has another meaning");
    Ok(())
}

/// Refuses labels that cannot be told apart or cannot be a header's value.
fn check_labels(labels: &[String], output: &Output) -> Result<()> {
    let fewest = if matches!(output, Output::SingleLabel) { 2 } else { 1 };
    ensure!(labels.len() >= fewest, "the head needs at least {fewest} labels, not {}", labels.len());
    let mut seen = HashSet::new();
    for label in labels {
        ensure!(
            !label.trim().is_empty() && label.len() <= MAX_LABEL && !label.contains(char::is_control),
            "label {label:?} must have a visible character, no control characters, and at most {MAX_LABEL} bytes"
        );
        ensure!(seen.insert(label), "label {label:?} is there twice");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(name: &str, labels: Vec<String>, layer: usize) -> Result<Head> {
        let weight = Tensor::from_slice2(&[[1.0f32, 0.0], [0.0, 1.0], [-1.0, -1.0]]);
        let bias = Tensor::from_slice(&[0.0f32, 0.0, 0.5]);
        let linear = Linear { weight: Weight::new(weight), bias: Weight::new(bias) };
        let reads = Reads { layer, pooling: Pooling::MeanAndBeginning, features: Vec::new() };
        Head::new(name, labels, reads, Some(linear), Output::SingleLabel)
    }

    fn labels() -> Vec<String> {
        ["a", "b", "c"].map(str::to_owned).to_vec()
    }

    #[test]
    fn scores_are_the_softmax_of_the_linear_layer_over_its_encoder_layer() {
        let head = head("task", labels(), 2).unwrap();
        // One token of width 1: whole and beginning are both normalised to 1 or to -1.
        let states = [-3.0f32, 5.0].map(|state| Tensor::from_slice(&[state]).view([1, 1, 1]));
        let [scores] = head.score(&states, None, &[]).unwrap().try_into().unwrap();
        let logits = [1.0f32, 1.0, -1.5];
        let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
        for ((_, score), logit) in scores.iter().zip(logits) {
            assert!((score - logit.exp() / sum).abs() < 1e-6, "{scores:?}");
        }
    }

    #[test]
    fn a_layer_that_the_encoder_has_not_is_an_error() {
        for layer in [0, 2] {
            let head = head("task", labels(), layer).unwrap();
            assert!(head.score(&[Tensor::from_slice(&[1.0f32]).view([1, 1, 1])], None, &[]).is_err());
        }
    }

    #[test]
    fn names_and_labels_must_fit_into_headers() {
        for name in ["Task 1", "", "read", "decision", "examples"] {
            assert!(head(name, labels(), 1).is_err(), "{name:?}");
        }
        for bad in ["a\nb", " ", &"x".repeat(MAX_LABEL + 1), "a"] {
            assert!(head("task", vec!["a".to_owned(), bad.to_owned()], 1).is_err(), "{bad:?}");
        }
    }
}

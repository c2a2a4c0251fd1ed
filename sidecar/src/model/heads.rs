//! The classification heads of a model: a linear layer and a softmax each, over features of one encoder layer.
//!
//! The last layer of an encoder trained for similarity knows what a text is about, and has forgotten much of what it
//! asks for; a layer in the middle still knows. So each head says which one it reads.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tch::{Kind, Tensor};

use super::pooling::features;
use super::scores::Scores;
use super::weights::Weight;

/// Longest label in bytes; the filter refuses longer ones, since labels go into headers and stats.
const MAX_LABEL: usize = 128;

/// A head: `softmax(weight · features + bias)`. Clones share the weights.
#[derive(Debug, Clone)]
pub struct Head {
    name: Arc<str>,
    labels: Arc<[String]>,
    layer: usize,
    /// `[labels, features]`
    weight: Weight,
    /// `[labels]`
    bias: Weight,
}

/// The numbers of a head.
#[derive(Debug, Clone)]
pub struct Linear {
    /// The encoder layer that is read; the first is 1.
    pub layer: usize,
    /// `[labels, features]`
    pub weight: Weight,
    /// `[labels]`
    pub bias: Weight,
}

impl Head {
    /// Makes a head.
    ///
    /// # Errors
    /// If the name cannot be part of a header's name, or a label cannot be a header's value.
    pub fn new(name: &str, labels: Vec<String>, linear: Linear) -> Result<Self> {
        check_name(name)?;
        check_labels(&labels)?;
        let Linear { layer, weight, bias } = linear;
        Ok(Self { name: name.into(), labels: labels.into(), layer, weight, bias })
    }

    /// The head's name, which is its folder's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it can answer.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The encoder layer that it reads; the first is 1.
    #[must_use]
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// The weights `[labels, features]` and the bias `[labels]`.
    pub(super) fn tensors(&self) -> (&Tensor, &Tensor) {
        (&self.weight, &self.bias)
    }

    /// Scores each text by its token vectors after each of the encoder's layers, each `[texts, tokens, hidden]`,
    /// without those that `mask` `[texts, tokens]` says are padding.
    ///
    /// # Errors
    /// If the head's layer is not among them, or libtorch fails.
    pub fn score(&self, hidden_states: &[Tensor], mask: Option<&Tensor>) -> Result<Vec<Scores>> {
        let hidden = self.layer.checked_sub(1).and_then(|index| hidden_states.get(index));
        let hidden = hidden.with_context(|| format!("the encoder has no layer {}", self.layer))?;
        let logits = features(hidden, mask)?.f_linear(&self.weight, Some(&*self.bias))?;
        let confidences: Vec<Vec<f32>> = logits.f_softmax(-1, Kind::Float)?.try_into()?;
        let scores = |confidences| Scores {
            head: self.name.clone(),
            labels: self.labels.clone(),
            confidences,
            score: None,
        };
        Ok(confidences.into_iter().map(scores).collect())
    }
}

/// Refuses a head's name that cannot be part of a header's name, as it is in `x-llm-NAME`.
fn check_name(name: &str) -> Result<()> {
    let fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    ensure!(
        !name.is_empty() && name.bytes().all(fit),
        "a head's name must be of a-z, 0-9 and '-', because it becomes part of a header's name; {name:?} is not"
    );
    Ok(())
}

/// Refuses labels that cannot be told apart or cannot be a header's value.
fn check_labels(labels: &[String]) -> Result<()> {
    ensure!(labels.len() >= 2, "a head needs at least two labels, not {}", labels.len());
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

    fn linear(layer: usize) -> Linear {
        let weight = Tensor::from_slice2(&[[1.0f32, 0.0], [0.0, 1.0], [-1.0, -1.0]]);
        let bias = Tensor::from_slice(&[0.0f32, 0.0, 0.5]);
        Linear { layer, weight: Weight::new(weight), bias: Weight::new(bias) }
    }

    fn labels() -> Vec<String> {
        ["a", "b", "c"].map(str::to_owned).to_vec()
    }

    #[test]
    fn scores_are_the_softmax_of_the_linear_layer_over_its_encoder_layer() {
        let head = Head::new("task", labels(), linear(2)).unwrap();
        // One token of width 1: whole and beginning are both normalised to 1 or to -1.
        let states = [Tensor::from_slice(&[-3.0f32]), Tensor::from_slice(&[5.0f32])];
        let [scores] =
            head.score(&states.map(|state| state.view([1, 1, 1])), None).unwrap().try_into().unwrap();
        let logits = [1.0f32, 1.0, -1.5];
        let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
        for (score, logit) in scores.confidences.iter().zip(logits) {
            assert!((score - logit.exp() / sum).abs() < 1e-6, "{scores:?}");
        }
    }

    #[test]
    fn a_layer_that_the_encoder_has_not_is_an_error() {
        for layer in [0, 2] {
            let head = Head::new("task", labels(), linear(layer)).unwrap();
            assert!(head.score(&[Tensor::from_slice(&[1.0f32]).view([1, 1, 1])], None).is_err());
        }
    }

    #[test]
    fn names_and_labels_must_fit_into_headers() {
        assert!(Head::new("Task 1", labels(), linear(1)).is_err());
        assert!(Head::new("", labels(), linear(1)).is_err());
        for bad in ["a\nb", " ", &"x".repeat(MAX_LABEL + 1), "a"] {
            let labels = vec!["a".to_owned(), bad.to_owned()];
            assert!(Head::new("task", labels, linear(1)).is_err(), "{bad:?}");
        }
    }
}

//! The classification heads of a model: a linear layer each, over a vector for each text, of one encoder layer.
//!
//! The last layer of an encoder trained for similarity knows what a text is about, and has forgotten much of what it
//! asks for; a layer in the middle still knows. So each head says which one it reads.

mod nvidia_complexity;
mod output;

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tch::{Device, Tensor};

pub use nvidia_complexity::NvidiaComplexity;
pub use output::Output;

use super::pooling::Pooling;
use super::prediction::HeadOutput;
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
    /// The part of the linear layer's weight that counts what was counted in the text, `[outputs, features]` on CPU.
    of_counted: Option<Weight>,
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
        let pooled = self.pooled(hidden_states, mask)?;
        let Some(counted) = self.counted(texts)? else { return Ok(pooled) };
        // Texts that only fill the batch come last.
        let pooled = pooled.f_narrow(0, 0, texts.len() as i64)?;
        Ok(Tensor::f_cat(&[&pooled, &counted.f_to_device(pooled.device())?], 1)?)
    }

    /// What is made of the layer's token vectors, the first numbers of what is read.
    fn pooled(&self, hidden_states: &[Tensor], mask: Option<&Tensor>) -> Result<Tensor> {
        let Self { layer, pooling, .. } = self;
        let hidden = layer.checked_sub(1).and_then(|index| hidden_states.get(index));
        pooling.apply(hidden.with_context(|| format!("the encoder has no layer {layer}"))?, mask)
    }

    /// What was counted in the texts, `[texts, features]` on CPU, if anything is read of it.
    fn counted(&self, texts: &[&TextFeatures]) -> Result<Option<Tensor>> {
        if self.features.is_empty() {
            return Ok(None);
        }
        let numbers = texts.iter().flat_map(|text| self.features.iter().map(|feature| feature.of(text)));
        let numbers = Tensor::f_from_slice(&numbers.collect::<Vec<f32>>())?;
        Ok(Some(numbers.f_view([texts.len() as i64, self.features.len() as i64])?))
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

impl Linear {
    /// The weight's columns for the vector, without those for what is counted, `[outputs, width]`.
    fn of_pooled(&self, reads: &Reads) -> Result<Tensor> {
        let width = self.weight.size2()?.1 - reads.features.len() as i64;
        Ok(self.weight.f_narrow(1, 0, width)?)
    }

    /// The others, on CPU, if there are any.
    fn of_counted(&self, reads: &Reads) -> Result<Option<Weight>> {
        let count = reads.features.len() as i64;
        if count == 0 {
            return Ok(None);
        }
        let columns = self.weight.f_narrow(1, self.weight.size2()?.1 - count, count)?;
        Ok(Some(Weight::new(columns.f_to_device(Device::Cpu)?)))
    }
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
        check(name, &labels, &output)?;
        let of_counted = linear.as_ref().map(|linear| linear.of_counted(&reads)).transpose()?.flatten();
        Ok(Self { name: name.into(), labels: labels.into(), reads, linear, of_counted, output })
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

    /// How many logits it has.
    #[must_use]
    pub fn outputs(&self) -> i64 {
        let rows = |linear: &Linear| linear.weight.size().first().copied();
        self.linear.as_ref().and_then(rows).unwrap_or(self.labels.len() as i64)
    }

    /// Each text's logits `[texts, outputs]`, but for what was counted in it, by its token vectors after each of the
    /// encoder's layers, each `[texts, tokens, hidden]`, without those that `mask` `[texts, tokens]` says are padding.
    /// Computed on their device, without waiting for it.
    ///
    /// # Errors
    /// If the head's layer is not among them, or libtorch fails.
    pub fn logits(&self, hidden_states: &[Tensor], mask: Option<&Tensor>) -> Result<Tensor> {
        let pooled = self.reads.pooled(hidden_states, mask)?;
        Ok(match &self.linear {
            Some(linear) => pooled.f_linear(&linear.of_pooled(&self.reads)?, Some(&*linear.bias))?,
            None => pooled,
        })
    }

    /// What the head says of each text, by [`Self::logits`] `[texts, outputs]`, on CPU, and what was counted in it.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn read(&self, logits: &Tensor, texts: &[&TextFeatures]) -> Result<Vec<HeadOutput>> {
        let counted = match (&self.of_counted, self.reads.counted(texts)?) {
            (Some(weight), Some(counted)) => Some(counted.f_linear::<&Tensor>(weight, None)?.f_add(logits)?),
            _ => None,
        };
        let logits = counted.as_ref().unwrap_or(logits);
        let scores = |(confidences, score)| HeadOutput {
            head: self.name.clone(),
            labels: self.labels.clone(),
            confidences,
            score,
        };
        Ok(self.output.read(logits)?.into_iter().map(scores).collect())
    }
}

/// Refuses what cannot be part of a header: some names, and some labels.
///
/// # Errors
/// If it says what is wrong.
pub fn check(name: &str, labels: &[String], output: &Output) -> Result<()> {
    check_name(name)?;
    check_labels(labels, output)
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
    use crate::model::text_features::TextFeature;

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
        let read = head.logits(&states, None).and_then(|logits| head.read(&logits, &[]));
        let [scores] = read.unwrap().try_into().unwrap();
        let logits = [1.0f32, 1.0, -1.5];
        let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
        for ((_, score), logit) in scores.iter().zip(logits) {
            assert!((score - logit.exp() / sum).abs() < 1e-6, "{scores:?}");
        }
    }

    #[test]
    fn what_was_counted_in_a_text_adds_to_its_logits() {
        let weight = Tensor::from_slice2(&[[2.0f32, 1.0], [0.0, -3.0]]);
        let linear =
            Linear { weight: Weight::new(weight), bias: Weight::new(Tensor::from_slice(&[0.5f32, 0.0])) };
        let feature = ScaledFeature { name: TextFeature::Lines, mean: 1.0, scale: 0.5 };
        let reads = Reads { layer: 1, pooling: Pooling::Mean, features: vec![feature] };
        let labels = labels()[..2].to_vec();
        let head = Head::new("task", labels, reads, Some(linear), Output::MultiLabel).unwrap();
        let text = TextFeatures::of(&["\n\n"], 2);
        let states = [Tensor::from_slice(&[4.0f32]).view([1, 1, 1])];
        let vector = head.reads().vectors(&states, None, &[&text]).unwrap();
        let Linear { weight, bias } = head.linear().unwrap();
        let expected = vector.linear(weight, Some(&**bias)).sigmoid();
        let logits = head.logits(&states, None).unwrap();
        let scores = head.read(&logits, &[&text]).unwrap().remove(0);
        assert_eq!(scores.confidences, Vec::<f32>::try_from(expected.view(-1)).unwrap());
        assert_ne!(scores, head.read(&logits, &[&TextFeatures::of(&["x"], 1)]).unwrap().remove(0));
    }

    #[test]
    fn a_layer_that_the_encoder_has_not_is_an_error() {
        for layer in [0, 2] {
            let head = head("task", labels(), layer).unwrap();
            assert!(head.logits(&[Tensor::from_slice(&[1.0f32]).view([1, 1, 1])], None).is_err());
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

//! The classification heads of a model: a linear layer each, over a vector for each text, of one encoder layer.
//!
//! The last layer of an encoder trained for similarity represents what a text is about, and little of what it asks for; a
//! middle layer still does. So each head names the layer that it reads.

mod nvidia_complexity;
mod output;

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use llm_router_routing::classification::MAX_LABEL;
use tch::{Device, Tensor};

pub use nvidia_complexity::NvidiaComplexity;
pub use output::{Output, normalized};

use super::pooling::Pooling;
use super::prediction::HeadOutput;
use super::text_features::{ScaledFeature, TextFeatures};
use super::weights::Weight;

/// A head. Clones share the weights.
#[derive(Debug, Clone)]
pub struct Head {
    name: Arc<str>,
    /// The labels that it can predict, or the dimensions of its score.
    labels: Arc<[String]>,
    input: HeadInput,
    /// None if the input's vectors are logits already.
    linear: Option<Linear>,
    /// The linear layer's weight for the text's features, `[outputs, features]` on CPU.
    feature_weight: Option<Weight>,
    output: Output,
    note: Option<Arc<str>>,
}

/// Which vectors a head reads.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadInput {
    /// The encoder layer; the first is 1.
    pub layer: usize,
    /// How the layer's token vectors become one vector.
    pub pooling: Pooling,
    /// Features of the text, which follow the vector's numbers.
    pub features: Vec<ScaledFeature>,
}

impl HeadInput {
    /// Width of what is read, for token vectors of this width.
    #[must_use]
    pub fn width(&self, hidden_size: i64) -> i64 {
        self.pooling.width(hidden_size) + self.features.len() as i64
    }

    /// One vector for each text, `[texts, width]`: its pooled token vectors, then its features.
    /// `hidden_states` are the token vectors `[texts, tokens, hidden]` after each of the encoder's layers.
    /// `mask` `[texts, tokens]` is false for tokens that are left out.
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

    /// The layer's pooled token vectors, which are the first numbers of the vector.
    fn pooled(&self, hidden_states: &[Tensor], mask: Option<&Tensor>) -> Result<Tensor> {
        let Self { layer, pooling, .. } = self;
        let hidden = layer.checked_sub(1).and_then(|index| hidden_states.get(index));
        pooling.apply(hidden.with_context(|| format!("the encoder has no layer {layer}"))?, mask)
    }

    /// The features of the texts, `[texts, features]` on CPU; none if the head reads no features.
    fn counted(&self, texts: &[&TextFeatures]) -> Result<Option<Tensor>> {
        if self.features.is_empty() {
            return Ok(None);
        }
        let numbers = texts.iter().flat_map(|text| self.features.iter().map(|feature| feature.value(text)));
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
    /// The weight's columns for the pooled vector, `[outputs, width]`.
    fn pooled_weight(&self, input: &HeadInput) -> Result<Tensor> {
        let width = self.weight.size2()?.1 - input.features.len() as i64;
        Ok(self.weight.f_narrow(1, 0, width)?)
    }

    /// The weight's columns for the text's features, `[outputs, features]` on CPU, if there are any.
    fn feature_weight(&self, input: &HeadInput) -> Result<Option<Weight>> {
        let count = input.features.len() as i64;
        if count == 0 {
            return Ok(None);
        }
        let columns = self.weight.f_narrow(1, self.weight.size2()?.1 - count, count)?;
        Ok(Some(Weight::new(columns.f_to_device(Device::Cpu)?)))
    }
}

impl Head {
    /// Creates a head.
    ///
    /// # Errors
    /// If the name cannot be part of a header's name, or a label cannot be a header's value.
    pub fn new(
        name: &str,
        labels: Vec<String>,
        input: HeadInput,
        linear: Option<Linear>,
        output: Output,
    ) -> Result<Self> {
        check(name, &labels, &output)?;
        let feature_weight =
            linear.as_ref().map(|linear| linear.feature_weight(&input)).transpose()?.flatten();
        Ok(Self {
            name: name.into(),
            labels: labels.into(),
            input,
            linear,
            feature_weight,
            output,
            note: None,
        })
    }

    /// The head with a note for its users.
    #[must_use]
    pub fn with_note(self, note: Option<&str>) -> Self {
        Self { note: note.map(Arc::from), ..self }
    }

    /// The head's name, which is its folder's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The labels that it can predict, or the dimensions of its score.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The note for its users.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Which vectors it reads.
    #[must_use]
    pub fn input(&self) -> &HeadInput {
        &self.input
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

    /// Each text's logits `[texts, outputs]`, without the contribution of its features, on the device of the
    /// token vectors. It does not wait for the result. The arguments are those of [`HeadInput::vectors`].
    ///
    /// # Errors
    /// If the head's layer is not among them, or libtorch fails.
    pub fn logits(&self, hidden_states: &[Tensor], mask: Option<&Tensor>) -> Result<Tensor> {
        let pooled = self.input.pooled(hidden_states, mask)?;
        Ok(match &self.linear {
            Some(linear) => pooled.f_linear(&linear.pooled_weight(&self.input)?, Some(&*linear.bias))?,
            None => pooled,
        })
    }

    /// The output for each text, from [`Self::logits`] `[texts, outputs]` on CPU and the text's features.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn read(&self, logits: &Tensor, texts: &[&TextFeatures]) -> Result<Vec<HeadOutput>> {
        let counted = match (&self.feature_weight, self.input.counted(texts)?) {
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

/// Checks that name and labels can be parts of headers.
///
/// # Errors
/// If one cannot; the error says why.
pub fn check(name: &str, labels: &[String], output: &Output) -> Result<()> {
    check_name(name)?;
    check_labels(labels, output)
}

/// Rejects a name that cannot be part of a header's name, such as `x-llm-NAME`.
fn check_name(name: &str) -> Result<()> {
    let fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    ensure!(
        !name.is_empty() && name.bytes().all(fit),
        "a head's name must be of a-z, 0-9 and '-', because it becomes part of a header's name; it is {name:?}"
    );
    // Names of other members of the dynamic metadata, and the name of few-shot classification in policies.
    const TAKEN: [&str; 3] = ["read", "decision", "examples"];
    ensure!(!TAKEN.contains(&name), "a head cannot be called {name:?}: that name is reserved");
    Ok(())
}

/// Rejects labels that are equal or cannot be a header's value.
fn check_labels(labels: &[String], output: &Output) -> Result<()> {
    let fewest = if matches!(output, Output::SingleLabel) { 2 } else { 1 };
    ensure!(labels.len() >= fewest, "the head needs at least {fewest} labels, not {}", labels.len());
    let mut seen = HashSet::new();
    for label in labels {
        ensure!(
            !label.trim().is_empty() && label.len() <= MAX_LABEL && !label.contains(char::is_control),
            "label {label:?} must have a visible character, no control characters, and at most {MAX_LABEL} bytes"
        );
        ensure!(seen.insert(label), "label {label:?} is duplicated");
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
        let input = HeadInput { layer, pooling: Pooling::MeanAndBeginning, features: Vec::new() };
        Head::new(name, labels, input, Some(linear), Output::SingleLabel)
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
    fn the_features_of_a_text_add_to_its_logits() {
        let weight = Tensor::from_slice2(&[[2.0f32, 1.0], [0.0, -3.0]]);
        let linear =
            Linear { weight: Weight::new(weight), bias: Weight::new(Tensor::from_slice(&[0.5f32, 0.0])) };
        let feature = ScaledFeature { name: TextFeature::Lines, mean: 1.0, scale: 0.5 };
        let input = HeadInput { layer: 1, pooling: Pooling::Mean, features: vec![feature] };
        let labels = labels()[..2].to_vec();
        let head = Head::new("task", labels, input, Some(linear), Output::MultiLabel).unwrap();
        let text = TextFeatures::count(&["\n\n"], 2);
        let states = [Tensor::from_slice(&[4.0f32]).view([1, 1, 1])];
        let vector = head.input().vectors(&states, None, &[&text]).unwrap();
        let Linear { weight, bias } = head.linear().unwrap();
        let expected = vector.linear(weight, Some(&**bias)).sigmoid();
        let logits = head.logits(&states, None).unwrap();
        let scores = head.read(&logits, &[&text]).unwrap().remove(0);
        assert_eq!(scores.confidences, Vec::<f32>::try_from(expected.view(-1)).unwrap());
        assert_ne!(scores, head.read(&logits, &[&TextFeatures::count(&["x"], 1)]).unwrap().remove(0));
    }

    #[test]
    fn a_layer_that_the_encoder_lacks_is_an_error() {
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

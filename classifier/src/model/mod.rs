//! The classifier model: tokenizer, encoder and heads, read from a folder as Hugging Face lays it out.

pub mod adapter;
pub mod batch;
pub mod encoder;
pub mod folder;
pub mod head_files;
pub mod heads;
pub mod linear;
pub mod load;
mod norm;
pub mod nvidia;
pub mod pooling;
pub mod prediction;
mod safetensors_file;
pub mod temperature;
pub mod text_features;
pub mod tokenizer;
pub mod training;
pub mod weights;

use anyhow::{Context, Result};
use tch::{Device, Tensor};

use batch::Batch;
use encoder::Encoder;
use heads::{Head, HeadInput};
use prediction::{Outputs, Prediction};
use tokenizer::Tokens;

/// An encoder with its heads. Clones share the weights.
#[derive(Debug, Clone)]
pub struct Model {
    encoder: Encoder,
    heads: Vec<Head>,
    /// How many of the encoder's layers the heads need.
    layers: usize,
}

impl Model {
    pub(crate) fn new(encoder: Encoder, mut heads: Vec<Head>) -> Self {
        heads.sort_by(|a, b| a.name().cmp(b.name()));
        let layers = heads.iter().map(|head| head.input().layer).max().unwrap_or(0);
        Self { encoder, heads, layers }
    }

    /// The names of the heads.
    pub fn heads(&self) -> impl Iterator<Item = &str> {
        self.heads.iter().map(Head::name)
    }

    /// The notes for users of heads, with the heads' names. Heads without a note are left out.
    pub fn notes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.heads.iter().filter_map(|head| Some((head.name(), head.note()?)))
    }

    /// Its device.
    pub(crate) fn device(&self) -> Device {
        self.encoder.device()
    }

    /// The token that pads a batch's shorter texts.
    pub(crate) fn pad_token(&self) -> i64 {
        self.encoder.pad_token()
    }

    /// Longest text that the encoder can read, in tokens.
    pub(crate) fn max_tokens(&self) -> usize {
        self.encoder.max_tokens()
    }

    /// One forward pass, no deeper than needed: the requested outputs of each text, in the texts' order. A text gets the
    /// same prediction alone and in a batch, within rounding; alone, it is not padded.
    ///
    /// # Errors
    /// If there is no text, or libtorch fails.
    pub fn classify(&self, texts: &[&Tokens], outputs: Outputs) -> Result<Vec<Prediction>> {
        let rows = self.forward(&self.encoder.batch(texts)?, outputs)?;
        self.predictions(texts, outputs, &rows.f_to_device(Device::Cpu)?)
    }

    /// What [`Self::predictions`] reads, a row for each text: the logits of all heads side by side, then the sentence
    /// embedding; float32, on the encoder's device, without waiting for it.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(crate) fn forward(&self, batch: &Batch, outputs: Outputs) -> Result<Tensor> {
        let layers = if outputs.embedding() { self.encoder.layers() } else { self.layers };
        let hidden_states = self.encoder.hidden_states(batch, layers)?;
        let mut parts = Vec::with_capacity(self.heads.len() + 1);
        if outputs.scores() {
            for head in &self.heads {
                parts.push(head.logits(&hidden_states, batch.pooled())?);
            }
        }
        if outputs.embedding() {
            let last = hidden_states.last().context("the encoder has no layers")?;
            parts.push(pooling::sentence_embedding(last, batch.pooled())?);
        }
        Ok(Tensor::f_cat(&parts, 1)?)
    }

    /// The predictions of a forward pass for the same texts and outputs, from its rows, on CPU. There may be more rows
    /// than texts.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(crate) fn predictions(
        &self,
        texts: &[&Tokens],
        outputs: Outputs,
        rows: &Tensor,
    ) -> Result<Vec<Prediction>> {
        let rows = rows.f_narrow(0, 0, texts.len() as i64)?;
        let empty = |text: &&Tokens| Prediction { read: text.read(), ..Prediction::default() };
        let mut predictions: Vec<_> = texts.iter().map(empty).collect();
        let mut first = 0;
        if outputs.scores() {
            let features: Vec<_> = texts.iter().map(|text| text.features()).collect();
            for head in &self.heads {
                let scores = head.read(&rows.f_narrow(1, first, head.outputs())?, &features)?;
                first += head.outputs();
                predictions.iter_mut().zip(scores).for_each(|(it, scores)| it.scores.push(scores));
            }
        }
        if outputs.embedding() {
            let embeddings = rows.f_narrow(1, first, self.encoder.hidden_size())?;
            for (prediction, embedding) in predictions.iter_mut().zip(Vec::<Vec<f32>>::try_from(embeddings)?)
            {
                prediction.embedding = Some(embedding);
            }
        }
        Ok(predictions)
    }
}

/// The vectors of the texts that a head with this input reads, `[texts, width]`.
///
/// # Errors
/// If the encoder has no such layer, or libtorch fails.
pub fn vectors(encoder: &Encoder, texts: &[&Tokens], input: &HeadInput) -> Result<Tensor> {
    let batch = encoder.batch(texts)?;
    let hidden_states = encoder.hidden_states(&batch, input.layer)?;
    let features: Vec<_> = texts.iter().map(|text| text.features()).collect();
    input.vectors(&hidden_states, batch.pooled(), &features)
}

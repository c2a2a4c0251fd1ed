//! The classifier model: tokenizer, encoder and heads, read from a folder as Hugging Face lays it out.

pub mod batch;
pub mod encoder;
pub mod head_files;
pub mod heads;
pub mod linear;
mod norm;
mod pooling;
pub mod scores;
pub mod tokenizer;
pub mod weights;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use tch::Tensor;

use encoder::Encoder;
use head_files::EncoderShape;
use heads::Head;
use scores::{Answer, Want};
use tokenizer::{Tokenizer, Tokens};

use crate::device::Compute;

/// An encoder with its heads. Clones share the weights.
#[derive(Debug, Clone)]
pub struct Model {
    encoder: Encoder,
    heads: Vec<Head>,
    /// How many of the encoder's layers the heads need.
    layers: usize,
}

impl Model {
    /// Reads `config.json`, `model.safetensors`, `tokenizer.json` and `heads/` of a folder.
    ///
    /// # Errors
    /// If a file is missing or unfit, or there is no head; the error names the file.
    pub fn load(folder: &Path, compute: impl Into<Compute>) -> Result<(Self, Tokenizer)> {
        let compute = compute.into();
        let (encoder, tokenizer) = load_encoder(folder, compute)?;
        let shape = EncoderShape { layers: encoder.layers(), hidden_size: encoder.hidden_size() };
        let heads = head_files::load_all(folder, shape, compute.device)?;
        ensure!(
            !heads.is_empty(),
            "{} has no heads/NAME/; `llm-router-sidecar train` makes one",
            folder.display()
        );
        let layers = heads.iter().map(Head::layer).max().unwrap_or(0);
        Ok((Self { encoder, heads, layers }, tokenizer))
    }

    /// The names of the heads.
    pub fn heads(&self) -> impl Iterator<Item = &str> {
        self.heads.iter().map(Head::name)
    }

    /// One forward pass: what is wanted of each text, in the texts' order, no deeper than it needs. A text says the same
    /// alone and in a batch, within rounding; alone, it is not padded.
    ///
    /// # Errors
    /// If there is no text, or libtorch fails.
    pub fn classify(&self, texts: &[&Tokens], want: Want) -> Result<Vec<Answer>> {
        let batch = self.encoder.batch(texts)?;
        let layers = if want.embedding() { self.encoder.layers() } else { self.layers };
        let hidden_states = self.encoder.hidden_states(&batch, layers)?;
        let mut answers = vec![Answer::default(); texts.len()];
        if want.scores() {
            for head in &self.heads {
                for (answer, scores) in answers.iter_mut().zip(head.score(&hidden_states, batch.mask())?) {
                    answer.scores.push(scores);
                }
            }
        }
        if want.embedding() {
            let last = hidden_states.last().context("the encoder has no layers")?;
            let embeddings = pooling::sentence_embedding(last, batch.mask())?;
            for (answer, embedding) in answers.iter_mut().zip(Vec::<Vec<f32>>::try_from(embeddings)?) {
                answer.embedding = Some(embedding);
            }
        }
        Ok(answers)
    }
}

/// What a head that reads this layer sees of the texts, `[texts, features]`.
///
/// # Errors
/// If the encoder has no such layer, or libtorch fails.
pub fn features(encoder: &Encoder, texts: &[&Tokens], layer: usize) -> Result<Tensor> {
    let batch = encoder.batch(texts)?;
    let hidden_states = encoder.hidden_states(&batch, layer)?;
    ensure!(hidden_states.len() == layer, "the encoder has {} layers, not {layer}", encoder.layers());
    pooling::features(hidden_states.last().context("the first layer is 1")?, batch.mask())
}

/// Reads `config.json`, `model.safetensors` and `tokenizer.json` of a folder, but no heads.
///
/// # Errors
/// If a file is missing or unfit; the error names it.
pub fn load_encoder(folder: &Path, compute: impl Into<Compute>) -> Result<(Encoder, Tokenizer)> {
    let encoder = Encoder::load(folder, compute)?;
    Ok((encoder, Tokenizer::load(&folder.join("tokenizer.json"))?))
}

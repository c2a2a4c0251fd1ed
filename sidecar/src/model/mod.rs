//! The classifier model: tokenizer, encoder and heads, read from a folder as Hugging Face lays it out.

pub mod bert;
pub mod config;
pub mod head_files;
pub mod heads;
mod pooling;
pub mod scores;
pub mod tokenizer;
pub mod weights;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use tch::{Device, Tensor};

use bert::Bert;
use config::BertConfig;
use head_files::EncoderShape;
use heads::Head;
use scores::Scores;
use tokenizer::{Tokenizer, Tokens};
use weights::Weights;

/// An encoder with its heads. Clones share the weights.
#[derive(Debug, Clone)]
pub struct Model {
    encoder: Bert,
    heads: Vec<Head>,
    /// How many of the encoder's layers the heads need.
    layers: usize,
}

impl Model {
    /// Reads `config.json`, `model.safetensors`, `tokenizer.json` and `heads/` of a folder.
    ///
    /// # Errors
    /// If a file is missing or unfit, or there is no head; the error names the file.
    pub fn load(folder: &Path, device: Device) -> Result<(Self, Tokenizer)> {
        let (encoder, tokenizer) = load_encoder(folder, device)?;
        let shape = EncoderShape { layers: encoder.layers(), hidden_size: encoder.hidden_size() };
        let heads = head_files::load_all(folder, shape, device)?;
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

    /// One forward pass: the scores of every head.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn classify(&self, text: &Tokens) -> Result<Vec<Scores>> {
        let hidden_states = self.encoder.hidden_states(text, self.layers)?;
        self.heads.iter().map(|head| head.score(&hidden_states)).collect()
    }
}

/// What a head that reads this layer sees of a text, `[features]`.
///
/// # Errors
/// If the encoder has no such layer, or libtorch fails.
pub fn features(encoder: &Bert, text: &Tokens, layer: usize) -> Result<Tensor> {
    let hidden_states = encoder.hidden_states(text, layer)?;
    ensure!(hidden_states.len() == layer, "the encoder has {} layers, not {layer}", encoder.layers());
    pooling::features(hidden_states.last().context("the first layer is 1")?)
}

/// Reads `config.json`, `model.safetensors` and `tokenizer.json` of a folder, but no heads.
///
/// # Errors
/// If a file is missing or unfit; the error names it.
pub fn load_encoder(folder: &Path, device: Device) -> Result<(Bert, Tokenizer)> {
    let config = BertConfig::load(&folder.join("config.json"))?;
    let tokenizer = Tokenizer::load(&folder.join("tokenizer.json"))?;
    let mut weights = Weights::load(&folder.join("model.safetensors"), device)?;
    Ok((Bert::load(&config, &mut weights)?, tokenizer))
}

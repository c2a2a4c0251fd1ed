//! The encoder of a model: turns token ids into a vector for each token, layer by layer.

mod bert;

use std::path::Path;

use anyhow::{Context, Result};
use tch::{Device, Tensor};

use super::batch::Batch;
use super::pooling;
use super::tokenizer::Tokens;
use super::weights::Weights;
use bert::{Bert, BertConfig};

/// An encoder of one of the kinds that are implemented. Clones share the weights.
#[derive(Debug, Clone)]
pub enum Encoder {
    /// BERT, for example all-MiniLM-L6-v2.
    Bert(Bert),
}

impl Encoder {
    /// Reads `config.json` and `model.safetensors` of a folder.
    ///
    /// # Errors
    /// If a file is missing or unfit, or the config asks for what is not implemented; the error names it.
    pub fn load(folder: &Path, device: Device) -> Result<Self> {
        let config = BertConfig::load(&folder.join("config.json"))?;
        let mut weights = Weights::load(&folder.join("model.safetensors"), device)?;
        Ok(Self::Bert(Bert::load(&config, &mut weights)?))
    }

    /// Number of layers.
    #[must_use]
    pub fn layers(&self) -> usize {
        match self {
            Self::Bert(bert) => bert.layers(),
        }
    }

    /// Width of the token vectors.
    #[must_use]
    pub fn hidden_size(&self) -> i64 {
        match self {
            Self::Bert(bert) => bert.hidden_size(),
        }
    }

    /// Longest text, in tokens, that the weights can read.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        match self {
            Self::Bert(bert) => bert.max_tokens(),
        }
    }

    /// The texts as tensors on the encoder's device, padded with its padding token.
    ///
    /// # Errors
    /// If there is no text, one has no token, or libtorch fails.
    pub fn batch(&self, texts: &[&Tokens]) -> Result<Batch> {
        match self {
            Self::Bert(bert) => Batch::new(texts, bert.pad_token(), bert.device()),
        }
    }

    /// The texts' token vectors after each of the first `layers` layers, each `[texts, tokens, hidden]`. What stands
    /// at padding means nothing.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn hidden_states(&self, batch: &Batch, layers: usize) -> Result<Vec<Tensor>> {
        match self {
            Self::Bert(bert) => bert.hidden_states(batch, layers),
        }
    }

    /// The texts' sentence embeddings: the mean of each text's last token vectors, normalised to length 1, as
    /// all-MiniLM-L6-v2 was trained. Returns `[texts, hidden]`.
    ///
    /// # Errors
    /// If libtorch fails, for example because memory ran out.
    pub fn embed(&self, batch: &Batch) -> Result<Tensor> {
        let states = self.hidden_states(batch, self.layers())?;
        pooling::sentence_embedding(states.last().context("the encoder has no layers")?, batch.mask())
    }
}

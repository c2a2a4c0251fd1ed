//! The encoder of a model: turns token ids into a vector for each token, layer by layer.

mod attention;
mod bert;
mod config;
mod deberta;
mod modernbert;
mod torchscript;

use std::path::Path;

use anyhow::{Context, Result, bail};
use tch::{Device, Tensor};

use super::batch::{Batch, PadTo};
use super::pooling;
use super::tokenizer::Tokens;
use super::weights::Weights;
use crate::device::{Compute, Precision};
use bert::Bert;
pub(crate) use config::Config;
use deberta::Deberta;
use modernbert::ModernBert;
use torchscript::TorchScript;

/// An encoder of an implemented kind. Clones share the weights.
#[derive(Debug, Clone)]
pub struct Encoder {
    shape: Shape,
    device: Device,
    pad_to: PadTo,
    architecture: Architecture,
}

/// In training, a batch's number of tokens is a multiple of this.
const TOKENS: usize = 64;

/// The common properties of encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Number of layers that heads can read.
    pub layers: usize,
    /// Width of a token's vector.
    pub hidden_size: i64,
    /// The maximum length of a text, in tokens.
    pub max_tokens: usize,
    /// The padding token.
    pub pad_token: i64,
}

#[derive(Debug, Clone)]
enum Architecture {
    Bert(Bert),
    Deberta(Deberta),
    ModernBert(ModernBert),
    TorchScript(TorchScript),
}

impl Encoder {
    /// Takes the encoder's tensors out of a checkpoint, and leaves the others.
    ///
    /// # Errors
    /// If a tensor is missing or invalid, or the config has an unsupported setting; the error names it.
    pub(crate) fn from_weights(config: &Config, weights: &mut Weights) -> Result<Self> {
        let device = weights.device();
        let (shape, architecture) = match config.model_type()? {
            "bert" | "roberta" | "xlm-roberta" | "camembert" => {
                let config = config.parse::<bert::BertConfig>()?;
                (config.shape(), Architecture::Bert(Bert::load(&config, weights)?))
            }
            "deberta-v2" => {
                let config = config.parse::<deberta::DebertaConfig>()?;
                (config.shape(), Architecture::Deberta(Deberta::load(&config, weights)?))
            }
            "modernbert" => {
                let config = config.parse::<modernbert::ModernBertConfig>()?;
                (config.shape(), Architecture::ModernBert(ModernBert::load(&config, weights)?))
            }
            other => bail!(
                "{}: model_type {other:?} is not implemented (bert, roberta, xlm-roberta, camembert, deberta-v2 and \
                 modernbert are); export the model as TorchScript, model.pt",
                config.path().display()
            ),
        };
        let pad_to = match weights.compute() {
            Compute { device: Device::Cpu, precision: Precision::Bf16 } => {
                PadTo::MultipleOf16 { max: shape.max_tokens }
            }
            _ => PadTo::Longest,
        };
        Ok(Self { shape, device, pad_to, architecture })
    }

    /// Reads TorchScript.
    ///
    /// # Errors
    /// If the file is invalid, or the config lacks a required field; the error names file and field.
    pub(crate) fn script(config: &Config, path: &Path, device: Device) -> Result<Self> {
        let shape = config.parse::<torchscript::TorchScriptConfig>()?.shape();
        let script = TorchScript::load(path, shape.hidden_size, device)?;
        let architecture = Architecture::TorchScript(script);
        Ok(Self { shape, device, pad_to: PadTo::Longest, architecture })
    }

    /// Number of layers that heads can read.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.shape.layers
    }

    /// Width of the token vectors.
    #[must_use]
    pub fn hidden_size(&self) -> i64 {
        self.shape.hidden_size
    }

    /// The maximum length of a text, in tokens.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.shape.max_tokens
    }

    /// The padding token.
    #[must_use]
    pub fn pad_token(&self) -> i64 {
        self.shape.pad_token
    }

    /// Its device.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// The texts as tensors on the encoder's device, padded with its padding token.
    ///
    /// # Errors
    /// If there is no text, one has no token, or libtorch fails.
    pub fn batch(&self, texts: &[&Tokens]) -> Result<Batch> {
        Batch::new(texts, self.shape.pad_token, self.pad_to, self.device)
    }

    /// Like [`Encoder::batch`]. Where libtorch caches kernels for each number of tokens, it appends copies of
    /// the first text until the number is a multiple of [`TOKENS`], so that few kernels are cached.
    ///
    /// # Errors
    /// As [`Encoder::batch`].
    pub fn batch_for_training(&self, texts: &[&Tokens]) -> Result<Batch> {
        let longest = texts.iter().map(|text| text.ids().len()).max().unwrap_or(0);
        let mut texts = texts.to_vec();
        if let (PadTo::MultipleOf16 { .. }, Some(&first)) = (self.pad_to, texts.first()) {
            let padded = self.pad_to.length(longest);
            let most = texts.len() + TOKENS;
            while texts.len() < most && !(texts.len() * padded).is_multiple_of(TOKENS) {
                texts.push(first);
            }
        }
        self.batch(&texts)
    }

    /// The texts' token vectors after each of the first `layers` layers, each `[texts, tokens, hidden]`; the last
    /// layer's are the output of the model. Vectors of padding are meaningless.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn hidden_states(&self, batch: &Batch, layers: usize) -> Result<Vec<Tensor>> {
        match &self.architecture {
            Architecture::Bert(bert) => bert.hidden_states(batch, layers),
            Architecture::Deberta(deberta) => deberta.hidden_states(batch, layers),
            Architecture::ModernBert(modernbert) => modernbert.hidden_states(batch, layers),
            Architecture::TorchScript(script) => script.hidden_states(batch),
        }
    }

    /// The texts' sentence embeddings: the mean of each text's last token vectors, normalised to length 1, as
    /// all-MiniLM-L6-v2 was trained. Returns `[texts, hidden]`.
    ///
    /// # Errors
    /// If libtorch fails, for example because memory ran out.
    pub fn embed(&self, batch: &Batch) -> Result<Tensor> {
        let states = self.hidden_states(batch, self.layers())?;
        pooling::sentence_embedding(states.last().context("the encoder has no layers")?, batch.pooled())
    }
}

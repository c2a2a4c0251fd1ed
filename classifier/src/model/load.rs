//! Reads models, encoders and tokenizers from folders laid out as Hugging Face does.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use llm_router_torch_ops::release_free_memory;

use super::Model;
use super::adapter::{self, Adapter};
use super::encoder::{Config, Encoder};
use super::folder::ModelFolder;
use super::head_files::{self, EncoderShape};
use super::heads::Head;
use super::nvidia;
use super::tokenizer::{MAX_TOKENS, Tokenizer};
use super::training::{Dropout, Training};
use super::weights::Weights;
use crate::device::Compute;

impl Model {
    /// Reads `config.json`, `model.safetensors` or `model.pt`, `tokenizer.json`, `heads/` and, if there is one, the
    /// adapter of a folder.
    ///
    /// # Errors
    /// If a file is missing or invalid, or there is no head; the error names the file.
    pub fn load(folder: &Path, compute: impl Into<Compute>) -> Result<(Self, Tokenizer)> {
        let compute = compute.into();
        let checkpoint = Checkpoint::load(folder, compute)?;
        let (encoder, mut heads) = checkpoint.with_heads()?;
        // The checkpoint has just been freed, and a tokenizer of many languages takes as much memory as the
        // weights.
        release_free_memory();
        let tokenizer = load_tokenizer(folder, &encoder)?;
        let shape = EncoderShape {
            layers: encoder.layers(),
            hidden_size: encoder.hidden_size(),
            adapter: adapter::fingerprint(folder)?,
        };
        for head in head_files::load_all(folder, &shape, compute.device)? {
            ensure!(
                heads.iter().all(|other| other.name() != head.name()),
                "{}: the checkpoint already has a head {:?}",
                folder.display(),
                head.name()
            );
            heads.push(head);
        }
        ensure!(
            !heads.is_empty(),
            "{} has no heads/NAME/; `llm-router-train train` creates one",
            folder.display()
        );
        Ok((Self::new(encoder, heads), tokenizer))
    }
}

impl Encoder {
    /// Reads `config.json`, and `model.safetensors` or else `model.pt` of a folder.
    ///
    /// # Errors
    /// If a file is missing or invalid, or the config requires something that is not implemented; the error names it.
    pub fn load(folder: &Path, compute: impl Into<Compute>) -> Result<Self> {
        Ok(Checkpoint::load(folder, compute)?.encoder)
    }

    /// Reads the encoder without the folder's adapter, prepared for training: plain tensors, with dropout while it is
    /// switched on.
    ///
    /// # Errors
    /// As [`Encoder::load`], and if it is TorchScript.
    pub fn load_for_training(folder: &Path, compute: Compute, dropout: Dropout) -> Result<(Self, Training)> {
        let folder = ModelFolder::open(folder)?;
        let config = nvidia::complete(Config::load(&folder.file("config.json"))?);
        let path = folder.weights().join("model.safetensors");
        ensure!(
            path.is_file() || !folder.weights().join("model.pt").is_file(),
            "{}: TorchScript's weights cannot be trained; train heads on it with --method head",
            folder.path().display()
        );
        let mut weights = Weights::load(&path, compute)?.for_training(Training::new(dropout));
        let encoder = Self::from_weights(&config, &mut weights)?;
        let training = weights.into_training().context("nothing was collected")?;
        Ok((encoder, training))
    }
}

/// Reads `config.json`, `model.safetensors` or `model.pt`, and `tokenizer.json` of a folder, but no heads.
///
/// # Errors
/// If a file is missing or invalid; the error names it.
pub fn load_encoder(folder: &Path, compute: impl Into<Compute>) -> Result<(Encoder, Tokenizer)> {
    let encoder = Encoder::load(folder, compute)?;
    let tokenizer = load_tokenizer(folder, &encoder)?;
    Ok((encoder, tokenizer))
}

/// Reads the `tokenizer.json` of a folder, limited to the tokens that the encoder reads.
///
/// # Errors
/// If a file is missing or invalid; the error names it.
pub fn load_tokenizer(folder: &Path, encoder: &Encoder) -> Result<Tokenizer> {
    let folder = ModelFolder::open(folder)?;
    let PromptConfig { context_tokens, unrelated_similarity, lower_all_caps } =
        PromptConfig::read(&folder, encoder.max_tokens())?;
    let limit = sentence_length(&folder)?.unwrap_or(MAX_TOKENS).min(encoder.max_tokens() - context_tokens);
    let tokenizer = Tokenizer::load(&folder.file("tokenizer.json"))?;
    let tokenizer = tokenizer.reading_at_most(limit)?.reading_context(context_tokens);
    Ok(tokenizer.with_unrelated_similarity(unrelated_similarity).lowering_all_caps(lower_all_caps))
}

/// An optional file of this project, beside those of the model: how the model reads prompts.
pub const PROMPT_FILE: &str = "prompt.json";

/// The contents of the file. Without it, a model reads no context, and the embeddings of unrelated texts
/// count as orthogonal.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PromptConfig {
    /// How many tokens of context the model was trained to read.
    #[serde(default)]
    context_tokens: usize,
    /// The cosine similarity of the embeddings of two unrelated texts.
    #[serde(default)]
    unrelated_similarity: f32,
    /// Whether texts in capital letters are converted to lower case.
    #[serde(default)]
    lower_all_caps: bool,
}

impl PromptConfig {
    /// Reads the file, if the folder has it. The encoder reads `room` tokens in all.
    fn read(folder: &ModelFolder, room: usize) -> Result<Self> {
        let path = folder.file(PROMPT_FILE);
        if !path.is_file() {
            return Ok(Self::default());
        }
        let fail = || format!("cannot read {}", path.display());
        let json = std::fs::read(&path).with_context(fail)?;
        // Read as a map first, because serde accepts a list of values for a struct.
        let json: serde_json::Map<_, _> = serde_json::from_slice(&json).with_context(fail)?;
        let config: Self = serde_json::from_value(json.into()).with_context(fail)?;
        ensure!(
            config.context_tokens < room,
            "{}: context_tokens must be less than the {room} tokens that the encoder reads",
            path.display()
        );
        ensure!(
            (0.0..1.0).contains(&config.unrelated_similarity),
            "{}: unrelated_similarity must be from 0 to below 1",
            path.display()
        );
        Ok(config)
    }
}

/// The text length that sentence-transformers trained the model with, from the file that it writes beside the
/// model.
fn sentence_length(folder: &ModelFolder) -> Result<Option<usize>> {
    #[derive(serde::Deserialize)]
    struct SentenceConfig {
        max_seq_length: Option<usize>,
    }
    let path = folder.file("sentence_bert_config.json");
    if !path.is_file() {
        return Ok(None);
    }
    let fail = || format!("cannot read {}", path.display());
    let json = std::fs::read(&path).with_context(fail)?;
    let SentenceConfig { max_seq_length } = serde_json::from_slice(&json).with_context(fail)?;
    Ok(max_seq_length)
}

/// The contents of `config.json` and `model.safetensors` or `model.pt`.
struct Checkpoint {
    config: Config,
    encoder: Encoder,
    /// Tensors that do not belong to the encoder; none for TorchScript.
    rest: Option<Weights>,
}

impl Checkpoint {
    /// Reads the files; `model.pt` only if there is no `model.safetensors`.
    fn load(folder: &Path, compute: impl Into<Compute>) -> Result<Self> {
        let compute = compute.into();
        let folder = ModelFolder::open(folder)?;
        let config = nvidia::complete(Config::load(&folder.file("config.json"))?);
        let (safetensors, script) =
            (folder.weights().join("model.safetensors"), folder.weights().join("model.pt"));
        if script.is_file() && !safetensors.is_file() {
            ensure!(
                adapter::base(folder.path())?.is_none(),
                "{}: an adapter cannot change TorchScript",
                folder.path().display()
            );
            let encoder = Encoder::script(&config, &script, compute.device)?;
            return Ok(Self { config, encoder, rest: None });
        }
        let mut weights = Weights::load(&safetensors, compute)?;
        if let Some(adapter) = Adapter::load(folder.path())? {
            adapter.merge_into(&mut weights)?;
        }
        let encoder = Encoder::from_weights(&config, &mut weights)?;
        Ok(Self { config, encoder, rest: Some(weights.in_fp32()) })
    }

    /// The encoder and the checkpoint's own heads, which are NVIDIA's; others come from `heads/`.
    fn with_heads(self) -> Result<(Encoder, Vec<Head>)> {
        let heads = match self.rest {
            Some(mut rest) => nvidia::heads(&self.config, &mut rest, &self.encoder)?,
            None => Vec::new(),
        };
        Ok((self.encoder, heads))
    }
}

//! Reads `config.json`, as Hugging Face lays it out, and refuses what this crate cannot compute.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::model::tokenizer::MAX_TOKENS;

/// The dimensions of a BERT encoder.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct BertConfig {
    /// Width of every token's vector.
    pub(super) hidden_size: i64,
    /// Number of transformer layers.
    pub(super) num_hidden_layers: i64,
    /// Attention heads a layer; divides `hidden_size`.
    pub(super) num_attention_heads: i64,
    /// Width of the feed-forward layer.
    pub(super) intermediate_size: i64,
    /// Number of word pieces.
    pub(super) vocab_size: i64,
    /// Longest input, in tokens, that the weights have positions for.
    pub(super) max_position_embeddings: i64,
    /// Number of segment embeddings; only segment 0 is used.
    pub(super) type_vocab_size: i64,
    /// Added to the variance in layer normalisation.
    pub(super) layer_norm_eps: f64,
    /// The token that fills a batch's shorter texts.
    #[serde(default)]
    pub(super) pad_token_id: i64,
    hidden_act: String,
    #[serde(default = "absolute")]
    position_embedding_type: String,
}

fn absolute() -> String {
    "absolute".to_owned()
}

#[derive(Deserialize)]
struct ModelType {
    model_type: String,
}

impl BertConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// If the file is missing, is not a BERT's, or asks for a variant that is not implemented.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let json = std::fs::read(path).with_context(|| {
            format!("cannot read {}; `scripts/setup` fetches the default model", path.display())
        })?;
        Self::parse(&json).with_context(|| format!("in {}", path.display()))
    }

    fn parse(json: &[u8]) -> Result<Self> {
        let ModelType { model_type } = serde_json::from_slice(json)?;
        ensure!(model_type == "bert", "model_type {model_type:?} is not supported; supported: \"bert\"");
        let config: Self = serde_json::from_slice(json)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let Self { hidden_size: hidden, num_attention_heads: heads, .. } = *self;
        ensure!(
            hidden > 0 && heads > 0 && hidden % heads == 0,
            "num_attention_heads must divide hidden_size"
        );
        ensure!(
            self.max_position_embeddings >= MAX_TOKENS as i64,
            "max_position_embeddings must be at least {MAX_TOKENS}"
        );
        if self.hidden_act != "gelu" {
            bail!("hidden_act {:?} is not supported; supported: \"gelu\"", self.hidden_act);
        }
        if self.position_embedding_type != "absolute" {
            bail!("position_embedding_type {:?} is not supported", self.position_embedding_type);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(model_type: &str, act: &str, heads: u32) -> String {
        format!(
            r#"{{"model_type":"{model_type}","hidden_act":"{act}","hidden_size":8,"num_hidden_layers":1,
            "num_attention_heads":{heads},"intermediate_size":16,"vocab_size":10,"max_position_embeddings":512,
            "type_vocab_size":2,"layer_norm_eps":1e-12}}"#
        )
    }

    fn error(json: &str) -> String {
        BertConfig::parse(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn reads_a_bert() {
        let config = BertConfig::parse(config("bert", "gelu", 2).as_bytes()).unwrap();
        assert_eq!((config.hidden_size, config.pad_token_id), (8, 0));
    }

    #[test]
    fn refuses_other_model_types_by_name() {
        assert_eq!(
            error(&config("roberta", "gelu", 2)),
            "model_type \"roberta\" is not supported; supported: \"bert\""
        );
        assert!(error(r#"{"hidden_size": 8}"#).contains("model_type"));
    }

    #[test]
    fn refuses_variants_that_would_compute_something_else() {
        assert!(error(&config("bert", "gelu_new", 2)).contains("gelu_new"));
        assert!(error(&config("bert", "gelu", 3)).contains("num_attention_heads"));
    }
}

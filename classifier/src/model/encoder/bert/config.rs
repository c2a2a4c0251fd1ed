//! The fields of `config.json` that a BERT or a RoBERTa reads.

use anyhow::{Result, ensure};
use serde::Deserialize;

use crate::model::encoder::Shape;
use crate::model::encoder::config::{Part, check_gelu, check_heads};

/// The dimensions of a BERT encoder.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(in crate::model::encoder) struct BertConfig {
    model_type: String,
    pub(super) hidden_size: i64,
    pub(super) num_hidden_layers: i64,
    pub(super) num_attention_heads: i64,
    /// Width of the feed-forward layer.
    pub(super) intermediate_size: i64,
    /// Number of word pieces.
    pub(super) vocab_size: i64,
    /// Number of position embeddings.
    pub(super) max_position_embeddings: i64,
    /// Number of segment embeddings; only segment 0 is used.
    pub(super) type_vocab_size: i64,
    /// Added to the variance in layer normalisation.
    pub(super) layer_norm_eps: f64,
    #[serde(default)]
    pad_token_id: i64,
    hidden_act: String,
    position_embedding_type: Option<String>,
}

impl BertConfig {
    /// The position of a text's first token. RoBERTa reserves the positions up to the padding token's id.
    pub(super) fn first_position(&self) -> i64 {
        if self.model_type == "bert" { 0 } else { self.pad_token_id + 1 }
    }

    pub(in crate::model::encoder) fn shape(&self) -> Shape {
        Shape {
            layers: self.num_hidden_layers as usize,
            hidden_size: self.hidden_size,
            max_tokens: (self.max_position_embeddings - self.first_position()) as usize,
            pad_token: self.pad_token_id,
        }
    }
}

impl Part for BertConfig {
    fn check(&self) -> Result<()> {
        check_heads(self.hidden_size, self.num_attention_heads)?;
        check_gelu("hidden_act", &self.hidden_act)?;
        let (positions, first) = (self.max_position_embeddings, self.first_position());
        ensure!(positions > first, "max_position_embeddings {positions} must be over {first}");
        if let Some(kind) = &self.position_embedding_type {
            ensure!(
                kind == "absolute",
                "position_embedding_type {kind:?} is not supported; supported: \"absolute\""
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::encoder::config::tests::{error, fixture};
    use serde_json::json;

    #[test]
    fn reads_a_bert_and_a_roberta() {
        let shape = |name| fixture(name, json!({})).parse::<BertConfig>().unwrap().shape();
        assert_eq!(shape("bert"), Shape { layers: 3, hidden_size: 8, max_tokens: 512, pad_token: 3 });
        assert_eq!(shape("roberta"), Shape { layers: 3, hidden_size: 8, max_tokens: 512, pad_token: 1 });
    }

    #[test]
    fn rejects_variants_that_would_compute_something_else() {
        for (changes, named) in [
            (json!({"hidden_act": "gelu_new"}), "gelu_new"),
            (json!({"num_attention_heads": 3}), "num_attention_heads"),
            (json!({"position_embedding_type": "relative_key"}), "relative_key"),
            (json!({"hidden_size": null}), "hidden_size"),
            (json!({"max_position_embeddings": 0}), "max_position_embeddings"),
        ] {
            let error = error::<BertConfig>("bert", changes);
            assert!(error.contains("config.json") && error.contains(named), "{error}");
        }
    }
}

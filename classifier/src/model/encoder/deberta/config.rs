//! The fields of `config.json` that a DeBERTa-v2 or -v3 reads.

use anyhow::{Result, ensure};
use serde::Deserialize;

use crate::model::encoder::Shape;
use crate::model::encoder::config::{Part, check_gelu, check_heads};

/// The dimensions of a DeBERTa encoder. Defaults are those of `transformers`.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::model::encoder) struct DebertaConfig {
    pub(super) hidden_size: i64,
    pub(super) num_hidden_layers: i64,
    pub(super) num_attention_heads: i64,
    /// Width of the feed-forward layer.
    pub(super) intermediate_size: i64,
    /// Number of word pieces.
    pub(super) vocab_size: i64,
    /// Longest text in tokens.
    pub(super) max_position_embeddings: i64,
    /// Added to the variance in layer normalisation.
    pub(super) layer_norm_eps: f64,
    /// Number of embeddings for distances of one sign.
    pub(super) position_buckets: i64,
    /// Whether distances are projected by the same weights as content.
    #[serde(default)]
    pub(super) share_att_key: bool,
    #[serde(default = "unlimited")]
    max_relative_positions: i64,
    #[serde(default)]
    relative_attention: bool,
    pos_att_type: Option<OneOrMany>,
    #[serde(default)]
    norm_rel_ebd: String,
    #[serde(default = "yes")]
    position_biased_input: bool,
    #[serde(default)]
    type_vocab_size: i64,
    #[serde(default)]
    conv_kernel_size: i64,
    embedding_size: Option<i64>,
    attention_head_size: Option<i64>,
    hidden_act: String,
    #[serde(default)]
    pad_token_id: i64,
}

/// `"p2c|c2p"` or `["p2c", "c2p"]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn unlimited() -> i64 {
    -1
}

fn yes() -> bool {
    true
}

impl DebertaConfig {
    /// Whether the distances' embeddings are normalised.
    pub(super) fn norm_distances(&self) -> bool {
        self.norm_rel_ebd.to_lowercase().split('|').any(|part| part.trim() == "layer_norm")
    }

    /// From here on, distances share the last bucket.
    pub(super) fn max_distance(&self) -> i64 {
        if self.max_relative_positions < 1 {
            self.max_position_embeddings
        } else {
            self.max_relative_positions
        }
    }

    pub(in crate::model::encoder) fn shape(&self) -> Shape {
        Shape {
            layers: self.num_hidden_layers as usize,
            hidden_size: self.hidden_size,
            max_tokens: self.max_position_embeddings as usize,
            pad_token: self.pad_token_id,
        }
    }

    fn attends_by(&self) -> Vec<String> {
        let mut kinds: Vec<String> = match &self.pos_att_type {
            None => Vec::new(),
            Some(OneOrMany::One(kinds)) => kinds.split('|').map(|kind| kind.trim().to_lowercase()).collect(),
            Some(OneOrMany::Many(kinds)) => kinds.clone(),
        };
        kinds.sort();
        kinds
    }
}

impl Part for DebertaConfig {
    fn check(&self) -> Result<()> {
        check_heads(self.hidden_size, self.num_attention_heads)?;
        check_gelu("hidden_act", &self.hidden_act)?;
        let head_size = self.hidden_size / self.num_attention_heads;
        ensure!(self.relative_attention, "relative_attention must be true");
        ensure!(self.attends_by() == ["c2p", "p2c"], "pos_att_type must be \"p2c|c2p\"");
        ensure!(self.position_buckets > 1, "position_buckets must be over 1");
        ensure!(self.max_position_embeddings > 0, "max_position_embeddings must be positive");
        ensure!(
            self.max_distance() > self.position_buckets / 2 + 1,
            "max_relative_positions must be over half of position_buckets"
        );
        ensure!(!self.position_biased_input, "position_biased_input must be false");
        ensure!(self.type_vocab_size == 0, "type_vocab_size must be 0");
        ensure!(self.conv_kernel_size == 0, "conv_kernel_size must be 0: the convolution is not implemented");
        ensure!(
            self.embedding_size.is_none_or(|size| size == self.hidden_size),
            "embedding_size must be hidden_size"
        );
        ensure!(
            self.attention_head_size.is_none_or(|size| size == head_size),
            "attention_head_size must be hidden_size / num_attention_heads"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::encoder::config::tests::{error, fixture};
    use serde_json::json;

    #[test]
    fn reads_a_deberta_with_either_spelling_of_pos_att_type() {
        for spelling in [json!("p2c|c2p"), json!(["c2p", "p2c"])] {
            let config = fixture("deberta-v3", json!({"pos_att_type": spelling}));
            let config: DebertaConfig = config.parse().unwrap();
            assert_eq!(config.shape(), Shape { layers: 3, hidden_size: 8, max_tokens: 512, pad_token: 0 });
            assert!(config.norm_distances());
        }
    }

    #[test]
    fn rejects_variants_by_the_name_of_their_field() {
        for (field, value) in [
            ("relative_attention", json!(false)),
            ("pos_att_type", json!(["c2p"])),
            ("position_biased_input", json!(true)),
            ("position_biased_input", json!(null)),
            ("position_buckets", json!(-1)),
            ("type_vocab_size", json!(2)),
            ("conv_kernel_size", json!(3)),
            ("embedding_size", json!(4)),
            ("attention_head_size", json!(16)),
            ("hidden_act", json!("relu")),
            ("max_relative_positions", json!(8)),
        ] {
            let error = error::<DebertaConfig>("deberta-v3", json!({field: value}));
            assert!(error.contains(field), "{error}");
        }
    }
}

//! The fields of `config.json` that a ModernBERT reads.

use anyhow::{Result, ensure};
use serde::Deserialize;

use crate::model::encoder::Shape;
use crate::model::encoder::config::{Part, check_gelu, check_heads};

/// The dimensions of a ModernBERT encoder. Defaults are those of `transformers`.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::model::encoder) struct ModernBertConfig {
    pub(super) hidden_size: i64,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: i64,
    /// Width of the feed-forward layer.
    pub(super) intermediate_size: i64,
    /// Number of word pieces.
    pub(super) vocab_size: i64,
    /// Longest text in tokens.
    pub(super) max_position_embeddings: i64,
    /// Tokens that a local layer sees: half of them before, half after.
    #[serde(default = "local_attention")]
    pub(super) local_attention: i64,
    /// Added to the variance in layer normalisation.
    #[serde(default = "norm_eps")]
    pub(super) norm_eps: f64,
    #[serde(default)]
    pub(super) norm_bias: bool,
    #[serde(default)]
    pub(super) attention_bias: bool,
    #[serde(default)]
    pub(super) mlp_bias: bool,
    /// The layers' reach, as newer versions of `transformers` write it...
    layer_types: Option<Vec<Reach>>,
    /// ...and as ModernBERT was published: one layer in each group of this size is global, beginning with the first.
    #[serde(default = "global_attn_every_n_layers")]
    global_attn_every_n_layers: usize,
    /// The same two ways for the base of the positions' frequencies.
    rope_parameters: Option<RopeParameters>,
    #[serde(default = "global_rope_theta")]
    global_rope_theta: f64,
    #[serde(default = "local_rope_theta")]
    local_rope_theta: f64,
    hidden_activation: String,
    pad_token_id: i64,
}

/// Which tokens a layer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(in crate::model::encoder) enum Reach {
    /// All tokens.
    #[serde(rename = "full_attention")]
    Global,
    /// Tokens nearby.
    #[serde(rename = "sliding_attention")]
    Local,
}

#[derive(Debug, Clone, Deserialize)]
struct RopeParameters {
    full_attention: Rope,
    sliding_attention: Rope,
}

#[derive(Debug, Clone, Deserialize)]
struct Rope {
    rope_theta: f64,
    #[serde(default = "default_rope")]
    rope_type: String,
}

fn local_attention() -> i64 {
    128
}

fn norm_eps() -> f64 {
    1e-5
}

fn global_attn_every_n_layers() -> usize {
    3
}

fn global_rope_theta() -> f64 {
    160_000.0
}

fn local_rope_theta() -> f64 {
    10_000.0
}

fn default_rope() -> String {
    "default".to_owned()
}

impl ModernBertConfig {
    /// Each layer's reach.
    pub(super) fn reaches(&self) -> Vec<Reach> {
        let reach = |layer: usize| {
            if layer.is_multiple_of(self.global_attn_every_n_layers) { Reach::Global } else { Reach::Local }
        };
        self.layer_types.clone().unwrap_or_else(|| (0..self.num_hidden_layers).map(reach).collect())
    }

    /// The base of the frequencies of positions.
    pub(super) fn theta(&self, reach: Reach) -> f64 {
        match (&self.rope_parameters, reach) {
            (Some(rope), Reach::Global) => rope.full_attention.rope_theta,
            (Some(rope), Reach::Local) => rope.sliding_attention.rope_theta,
            (None, Reach::Global) => self.global_rope_theta,
            (None, Reach::Local) => self.local_rope_theta,
        }
    }

    pub(in crate::model::encoder) fn shape(&self) -> Shape {
        Shape {
            layers: self.num_hidden_layers,
            hidden_size: self.hidden_size,
            max_tokens: self.max_position_embeddings as usize,
            pad_token: self.pad_token_id,
        }
    }
}

impl Part for ModernBertConfig {
    fn check(&self) -> Result<()> {
        check_heads(self.hidden_size, self.num_attention_heads)?;
        check_gelu("hidden_activation", &self.hidden_activation)?;
        ensure!(
            (self.hidden_size / self.num_attention_heads) % 2 == 0,
            "hidden_size / num_attention_heads must be even, for rotary positions"
        );
        ensure!(self.max_position_embeddings > 0, "max_position_embeddings must be positive");
        ensure!(self.global_attn_every_n_layers > 0, "global_attn_every_n_layers must be positive");
        ensure!(
            self.reaches().len() == self.num_hidden_layers,
            "layer_types must have num_hidden_layers entries"
        );
        if let Some(rope) = &self.rope_parameters {
            for Rope { rope_type, .. } in [&rope.full_attention, &rope.sliding_attention] {
                ensure!(
                    rope_type == "default",
                    "rope_parameters: rope_type {rope_type:?} is not supported; supported: \"default\""
                );
            }
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
    fn both_ways_to_write_layers_and_frequencies_mean_the_same() {
        let read = |changes| fixture("modernbert", changes).parse::<ModernBertConfig>().unwrap();
        let old = read(json!({"global_rope_theta": 7.0, "local_rope_theta": 5.0}));
        let types = [
            "full_attention",
            "sliding_attention",
            "sliding_attention",
            "full_attention",
            "sliding_attention",
        ];
        let new = read(json!({
            "layer_types": types, "global_attn_every_n_layers": null,
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 7.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 5.0}
            }
        }));
        assert_eq!(old.reaches(), new.reaches());
        for reach in [Reach::Global, Reach::Local] {
            assert_eq!(old.theta(reach), new.theta(reach));
        }
        assert_eq!(new.theta(Reach::Global), 7.0);
    }

    #[test]
    fn rejects_variants_by_the_name_of_their_field() {
        let yarn = json!({"rope_type": "yarn", "rope_theta": 1.0});
        for (field, value) in [
            ("hidden_activation", json!("silu")),
            ("global_attn_every_n_layers", json!(0)),
            ("layer_types", json!(["full_attention"])),
            ("rope_parameters", json!({"full_attention": yarn, "sliding_attention": yarn})),
            ("num_attention_heads", json!(8)),
            ("pad_token_id", json!(null)),
        ] {
            let error = error::<ModernBertConfig>("modernbert", json!({field: value}));
            assert!(error.contains(field), "{error}");
        }
    }
}

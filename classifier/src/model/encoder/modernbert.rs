//! ModernBERT: rotary positions, attention that is local in most layers, and gated feed-forward layers.
//!
//! It computes what `transformers.ModernBertModel` does. For speed, the rotations are computed when loading.

mod config;
mod rotary;

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use super::attention::{Projections, over_keys};
use crate::model::batch::Batch;
use crate::model::linear::Linear;
use crate::model::norm::Norm;
use crate::model::weights::{Weight, Weights};
pub(super) use config::{ModernBertConfig, Reach};
use rotary::Rotary;

/// The encoder. Clones share the weights.
#[derive(Debug, Clone)]
pub(super) struct ModernBert {
    words: Weight,
    norm: Norm,
    layers: Vec<Layer>,
    final_norm: Norm,
    global: Rotary,
    local: Rotary,
    /// Local layers see tokens up to this distance.
    window: i64,
    attention_heads: i64,
}

#[derive(Debug, Clone)]
struct Layer {
    reach: Reach,
    /// None in the first layer, whose input is already normalised.
    attention_norm: Option<Norm>,
    /// Query, key and value stacked.
    qkv: Linear,
    attention_out: Linear,
    feed_norm: Norm,
    /// The input projection and the gate, stacked.
    feed_in: Linear,
    feed_out: Linear,
}

/// The inputs of a layer's attention that depend on its reach.
struct Seen<'a> {
    mask: Option<&'a Tensor>,
    rotary: &'a Rotary,
}

impl ModernBert {
    /// Takes the encoder's tensors out of a checkpoint.
    ///
    /// # Errors
    /// If one is missing or has another shape than `config` says.
    pub(super) fn load(config: &ModernBertConfig, weights: &mut Weights) -> Result<Self> {
        weights.strip_prefixes();
        let device = weights.device();
        let rotary = |reach| Rotary::new(config, config.theta(reach), device);
        Ok(Self {
            words: weights
                .take("embeddings.tok_embeddings.weight", &[config.vocab_size, config.hidden_size])?,
            norm: norm(weights, "embeddings.norm", config)?,
            layers: (0..)
                .zip(config.reaches())
                .map(|(number, reach)| Layer::load(weights, number, reach, config))
                .collect::<Result<_>>()?,
            final_norm: norm(weights, "final_norm", config)?,
            global: rotary(Reach::Global)?,
            local: rotary(Reach::Local)?,
            window: config.local_attention / 2,
            attention_heads: config.num_attention_heads,
        })
    }

    /// See [`super::Encoder::hidden_states`].
    pub(super) fn hidden_states(&self, batch: &Batch, layers: usize) -> Result<Vec<Tensor>> {
        let mask = over_keys(batch.mask())?;
        let local_mask = match self.window_mask(batch.tokens(), batch.ids.device())? {
            Some(window) => Some(match &mask {
                Some(mask) => window.f_logical_and(mask)?,
                None => window,
            }),
            None => mask.as_ref().map(Tensor::shallow_clone),
        };
        let words = Tensor::f_embedding(&self.words, &batch.ids, -1, false, false)?;
        let mut hidden = self.norm.apply(&words)?;
        let mut states = Vec::with_capacity(layers);
        for layer in self.layers.iter().take(layers) {
            let seen = match layer.reach {
                Reach::Global => Seen { mask: mask.as_ref(), rotary: &self.global },
                Reach::Local => Seen { mask: local_mask.as_ref(), rotary: &self.local },
            };
            hidden = layer.forward(&hidden, &seen, self.attention_heads)?;
            states.push(hidden.shallow_clone());
        }
        if states.len() == self.layers.len()
            && let Some(last) = states.last_mut()
        {
            *last = self.final_norm.apply(last)?;
        }
        Ok(states)
    }

    /// True for tokens that are near enough to each other, `[tokens, tokens]`; none if all are.
    fn window_mask(&self, tokens: i64, device: Device) -> Result<Option<Tensor>> {
        if tokens <= self.window + 1 {
            return Ok(None);
        }
        let positions = Tensor::f_arange(tokens, (Kind::Int64, device))?;
        let distances = positions.f_unsqueeze(1)?.f_sub(&positions)?.f_abs()?;
        Ok(Some(distances.f_le(self.window)?))
    }
}

impl Layer {
    fn load(weights: &mut Weights, number: usize, reach: Reach, config: &ModernBertConfig) -> Result<Self> {
        let (hidden, feed) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("layers.{number}.{part}");
        let attention_norm = match number {
            0 => None,
            _ => Some(norm(weights, &name("attn_norm"), config)?),
        };
        let (in_attention, in_feed) = (config.attention_bias, config.mlp_bias);
        Ok(Self {
            reach,
            attention_norm,
            qkv: linear(weights, &name("attn.Wqkv"), [3 * hidden, hidden], in_attention)?,
            attention_out: linear(weights, &name("attn.Wo"), [hidden, hidden], in_attention)?,
            feed_norm: norm(weights, &name("mlp_norm"), config)?,
            feed_in: linear(weights, &name("mlp.Wi"), [2 * feed, hidden], in_feed)?,
            feed_out: linear(weights, &name("mlp.Wo"), [hidden, feed], in_feed)?,
        })
    }

    fn forward(&self, hidden: &Tensor, seen: &Seen, heads: i64) -> Result<Tensor> {
        let qkv = match &self.attention_norm {
            Some(norm) => self.qkv.apply(&norm.apply(hidden)?)?,
            None => self.qkv.apply(hidden)?,
        };
        let Projections { query, key, value } = Projections::split(&qkv, heads)?;
        let (query, key) = (seen.rotary.rotate(&query)?, seen.rotary.rotate(&key)?);
        let attended = Projections { query, key, value }.attend(seen.mask, None)?;
        let hidden = self.attention_out.apply_add(&attended, hidden)?;
        let fed = self.feed_in.apply(&self.feed_norm.apply(&hidden)?)?;
        let width = fed.size3()?.2 / 2;
        let fed = fed.f_narrow(2, 0, width)?.f_gelu("none")?.f_mul(&fed.f_narrow(2, width, width)?)?;
        self.feed_out.apply_add(&fed, &hidden)
    }
}

fn linear(weights: &mut Weights, name: &str, [outputs, inputs]: [i64; 2], bias: bool) -> Result<Linear> {
    if bias {
        Linear::load(weights, name, outputs, inputs)
    } else {
        Linear::load_without_bias(weights, name, outputs, inputs)
    }
}

fn norm(weights: &mut Weights, name: &str, config: &ModernBertConfig) -> Result<Norm> {
    if config.norm_bias {
        Norm::load(weights, name, config.hidden_size, config.norm_eps)
    } else {
        Norm::load_without_bias(weights, name, config.hidden_size, config.norm_eps)
    }
}

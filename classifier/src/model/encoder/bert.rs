//! BERT, and RoBERTa, which numbers positions differently.
//!
//! It computes what `transformers` does, with two changes for speed: query, key and value are one matrix
//! product, and the segment embedding, always the same, is added to the positions when loading.

mod config;

use anyhow::Result;
use tch::Tensor;

pub(super) use config::BertConfig;

use super::attention::{Projections, over_keys};
use crate::model::batch::Batch;
use crate::model::linear::Linear;
use crate::model::norm::Norm;
use crate::model::weights::{Weight, Weights};

/// The encoder. Clones share the weights.
#[derive(Debug, Clone)]
pub(super) struct Bert {
    words: Weight,
    /// Positions plus the embedding of segment 0, `[max tokens, hidden]`.
    positions: Weight,
    norm: Norm,
    layers: Vec<Layer>,
    attention_heads: i64,
}

#[derive(Debug, Clone)]
struct Layer {
    /// Query, key and value stacked: `[3 * hidden, hidden]`.
    qkv: Linear,
    attention_out: Linear,
    attention_norm: Norm,
    feed_in: Linear,
    feed_out: Linear,
    feed_norm: Norm,
}

impl Bert {
    /// Takes the encoder's tensors out of a checkpoint.
    ///
    /// # Errors
    /// If one is missing or has another shape than `config` says.
    pub(super) fn load(config: &BertConfig, weights: &mut Weights) -> Result<Self> {
        let hidden = config.hidden_size;
        let eps = config.layer_norm_eps;
        weights.strip_prefixes();
        let words = weights.take_table("embeddings.word_embeddings.weight", &[config.vocab_size, hidden])?;
        let positions = weights
            .take("embeddings.position_embeddings.weight", &[config.max_position_embeddings, hidden])?;
        let segments =
            weights.take("embeddings.token_type_embeddings.weight", &[config.type_vocab_size, hidden])?;
        let positions = positions.f_slice(0, config.first_position(), None, 1)?;
        Ok(Self {
            words,
            positions: Weight::new(positions.f_add(&segments.f_select(0, 0)?)?),
            norm: Norm::load(weights, "embeddings.LayerNorm", hidden, eps)?,
            layers: (0..config.num_hidden_layers)
                .map(|layer| Layer::load(weights, &format!("encoder.layer.{layer}"), config))
                .collect::<Result<_>>()?,
            attention_heads: config.num_attention_heads,
        })
    }

    /// See [`super::Encoder::hidden_states`].
    pub(super) fn hidden_states(&self, batch: &Batch, layers: usize) -> Result<Vec<Tensor>> {
        let mask = over_keys(batch.mask())?;
        let mut hidden = self.lookup(batch)?;
        let mut states = Vec::with_capacity(layers);
        for layer in self.layers.iter().take(layers) {
            hidden = layer.forward(&hidden, mask.as_ref(), self.attention_heads)?;
            states.push(hidden.shallow_clone());
        }
        Ok(states)
    }

    /// The input of the first layer, `[texts, tokens, hidden]`.
    fn lookup(&self, batch: &Batch) -> Result<Tensor> {
        let words = Tensor::f_embedding(&self.words, &batch.ids, -1, false, false)?;
        let words = words.f_to_kind(self.positions.kind())?;
        self.norm.apply(&words.f_add(&self.positions.f_narrow(0, 0, batch.tokens())?)?)
    }
}

impl Layer {
    fn load(weights: &mut Weights, name: &str, config: &BertConfig) -> Result<Self> {
        let (hidden, feed, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let qkv = ["query", "key", "value"].map(|part| format!("{name}.attention.self.{part}"));
        Ok(Self {
            qkv: Linear::load_stacked(weights, &qkv, hidden, hidden)?,
            attention_out: Linear::load(weights, &format!("{name}.attention.output.dense"), hidden, hidden)?,
            attention_norm: Norm::load(weights, &format!("{name}.attention.output.LayerNorm"), hidden, eps)?,
            feed_in: Linear::load(weights, &format!("{name}.intermediate.dense"), feed, hidden)?,
            feed_out: Linear::load(weights, &format!("{name}.output.dense"), hidden, feed)?,
            feed_norm: Norm::load(weights, &format!("{name}.output.LayerNorm"), hidden, eps)?,
        })
    }

    fn forward(&self, hidden: &Tensor, mask: Option<&Tensor>, heads: i64) -> Result<Tensor> {
        let attended = Projections::split(&self.qkv.apply(hidden)?, heads)?.attend(mask, None)?;
        let hidden = self.attention_norm.apply(&self.attention_out.apply_add(&attended, hidden)?)?;
        let fed = self.feed_in.apply_gelu(&hidden)?;
        self.feed_norm.apply(&self.feed_out.apply_add(&fed, &hidden)?)
    }
}

//! A BERT encoder in libtorch.
//!
//! It computes what `transformers.BertModel` does, with two changes for speed: query, key and value are one matrix
//! product, and the segment embedding, always the same, is added to the positions when loading.

mod config;

use anyhow::Result;
use tch::{Device, Tensor};

pub(super) use config::BertConfig;

use crate::model::batch::Batch;
use crate::model::linear::Linear;
use crate::model::norm::Norm;
use crate::model::weights::{Weight, Weights};

/// The encoder. Clones share the weights.
#[derive(Debug, Clone)]
pub struct Bert {
    words: Weight,
    /// Positions plus the embedding of segment 0, `[max positions, hidden]`.
    positions: Weight,
    norm: Norm,
    layers: Vec<Layer>,
    hidden_size: i64,
    attention_heads: i64,
    pad_token: i64,
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
    /// Builds the encoder from the tensors of a Hugging Face checkpoint.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape than `config` says.
    pub(super) fn load(config: &BertConfig, weights: &mut Weights) -> Result<Self> {
        let hidden = config.hidden_size;
        let eps = config.layer_norm_eps;
        let words = weights.take("embeddings.word_embeddings.weight", &[config.vocab_size, hidden])?;
        let positions = weights
            .take("embeddings.position_embeddings.weight", &[config.max_position_embeddings, hidden])?;
        let segments =
            weights.take("embeddings.token_type_embeddings.weight", &[config.type_vocab_size, hidden])?;
        Ok(Self {
            words,
            positions: Weight::new(positions.f_add(&segments.f_select(0, 0)?)?),
            norm: Norm::load(weights, "embeddings.LayerNorm", hidden, eps)?,
            layers: (0..config.num_hidden_layers)
                .map(|layer| Layer::load(weights, &format!("encoder.layer.{layer}"), config))
                .collect::<Result<_>>()?,
            hidden_size: hidden,
            attention_heads: config.num_attention_heads,
            pad_token: config.pad_token_id,
        })
    }

    /// Width of the token vectors.
    pub(super) fn hidden_size(&self) -> i64 {
        self.hidden_size
    }

    /// Number of layers.
    pub(super) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Longest text that there are positions for.
    pub(super) fn max_tokens(&self) -> usize {
        self.positions.size().first().map_or(0, |&positions| positions as usize)
    }

    /// What fills a batch's shorter texts.
    pub(super) fn pad_token(&self) -> i64 {
        self.pad_token
    }

    /// Where the weights are.
    pub(super) fn device(&self) -> Device {
        self.words.device()
    }

    /// See [`super::Encoder::hidden_states`].
    pub(super) fn hidden_states(&self, batch: &Batch, layers: usize) -> Result<Vec<Tensor>> {
        let mut hidden = self.lookup(batch)?;
        let mut states = Vec::with_capacity(layers);
        for layer in self.layers.iter().take(layers) {
            hidden = layer.forward(&hidden, batch.mask(), self.attention_heads)?;
            states.push(hidden.shallow_clone());
        }
        Ok(states)
    }

    /// What the first layer reads, `[texts, tokens, hidden]`.
    fn lookup(&self, batch: &Batch) -> Result<Tensor> {
        let words = Tensor::f_embedding(&self.words, &batch.ids, -1, false, false)?;
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
        let attended = self.attention_out.apply(&self.attend(hidden, mask, heads)?)?;
        let hidden = self.attention_norm.apply(&attended.f_add(hidden)?)?;
        let fed = self.feed_out.apply(&self.feed_in.apply(&hidden)?.f_gelu("none")?)?;
        self.feed_norm.apply(&fed.f_add(&hidden)?)
    }

    fn attend(&self, hidden: &Tensor, mask: Option<&Tensor>, heads: i64) -> Result<Tensor> {
        let (texts, tokens, width) = hidden.size3()?;
        // [texts, tokens, 3 * hidden] → three of [texts, heads, tokens, hidden / heads]
        let qkv = self.qkv.apply(hidden)?.f_view([texts, tokens, 3, heads, width / heads])?;
        let qkv = qkv.f_permute([2, 0, 3, 1, 4])?;
        let (query, key, value) = (qkv.f_select(0, 0)?, qkv.f_select(0, 1)?, qkv.f_select(0, 2)?);
        // [texts, 1, 1, tokens]: the same keys are hidden from every attention head and query.
        let mask = match mask {
            None => None,
            Some(mask) => Some(mask.f_unsqueeze(1)?.f_unsqueeze(1)?),
        };
        let attended =
            Tensor::f_scaled_dot_product_attention(&query, &key, &value, mask, 0.0, false, None, false)?;
        Ok(attended.f_transpose(1, 2)?.f_reshape([texts, tokens, width])?)
    }
}

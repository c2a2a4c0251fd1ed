//! DeBERTa-v2 and -v3: attention by content, and by the distance between tokens.
//!
//! It computes what `transformers.DebertaV2Model` does. For speed, query, key and value are one matrix
//! product, the projections of distances are computed when loading, and libtorch's fused attention gets the
//! two terms with distances as an additive mask.

mod config;
mod distances;

use anyhow::Result;
use tch::Tensor;

use super::attention::{Projections, over_keys};
use crate::model::batch::Batch;
use crate::model::linear::Linear;
use crate::model::norm::Norm;
use crate::model::weights::{Weight, Weights};
pub(super) use config::DebertaConfig;
use distances::Distances;

/// The encoder. Clones share the weights.
#[derive(Debug, Clone)]
pub(super) struct Deberta {
    words: Weight,
    norm: Norm,
    layers: Vec<Layer>,
    attention_heads: i64,
}

#[derive(Debug, Clone)]
struct Layer {
    /// Query, key and value stacked.
    qkv: Linear,
    positions: Positions,
    attention_out: Linear,
    attention_norm: Norm,
    feed_in: Linear,
    feed_out: Linear,
    feed_norm: Norm,
}

/// How a layer gets its projections of distances.
#[derive(Debug, Clone)]
enum Positions {
    /// Computed when loading.
    Fixed(Distances),
    /// Computed at every pass, because the projecting layers are being trained.
    Trained(Projected),
}

/// The layers that project the embeddings of distances.
#[derive(Debug, Clone)]
struct Projected {
    /// The embedding of every distance, `[2 * max tokens - 1, hidden]`.
    embeddings: Weight,
    /// The query and key layers, if they differ from those of the content.
    own: Option<(Linear, Linear)>,
}

impl Deberta {
    /// Takes the encoder's tensors out of a checkpoint.
    ///
    /// # Errors
    /// If one is missing or has another shape than `config` says.
    pub(super) fn load(config: &DebertaConfig, weights: &mut Weights) -> Result<Self> {
        weights.strip_prefixes();
        let (hidden, eps) = (config.hidden_size, config.layer_norm_eps);
        let mut embeddings =
            weights.take("encoder.rel_embeddings.weight", &[2 * config.position_buckets, hidden])?;
        if config.norm_distances() {
            let norm = Norm::load(weights, "encoder.LayerNorm", hidden, eps)?;
            embeddings = Weight::new(norm.apply(&embeddings)?);
        }
        let embeddings = distances::by_distance(config, &embeddings)?;
        Ok(Self {
            words: weights.take("embeddings.word_embeddings.weight", &[config.vocab_size, hidden])?,
            norm: Norm::load(weights, "embeddings.LayerNorm", hidden, eps)?,
            layers: (0..config.num_hidden_layers)
                .map(|layer| Layer::load(weights, &format!("encoder.layer.{layer}"), config, &embeddings))
                .collect::<Result<_>>()?,
            attention_heads: config.num_attention_heads,
        })
    }

    /// See [`super::Encoder::hidden_states`].
    pub(super) fn hidden_states(&self, batch: &Batch, layers: usize) -> Result<Vec<Tensor>> {
        let words = Tensor::f_embedding(&self.words, &batch.ids, -1, false, false)?;
        let mut hidden = self.norm.apply(&words)?;
        let padding = match over_keys(batch.mask())? {
            Some(mask) => Some(mask.f_logical_not()?),
            None => None,
        };
        let mut states = Vec::with_capacity(layers);
        for layer in self.layers.iter().take(layers) {
            hidden = layer.forward(&hidden, padding.as_ref(), self.attention_heads)?;
            states.push(hidden.shallow_clone());
        }
        Ok(states)
    }
}

impl Layer {
    fn load(weights: &mut Weights, name: &str, config: &DebertaConfig, embeddings: &Tensor) -> Result<Self> {
        let (hidden, feed, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let attention = format!("{name}.attention.self");
        let qkv = ["query_proj", "key_proj", "value_proj"].map(|part| format!("{attention}.{part}"));
        let qkv = Linear::load_stacked(weights, &qkv, hidden, hidden)?;
        let own = if config.share_att_key {
            None
        } else {
            let query = Linear::load(weights, &format!("{attention}.pos_query_proj"), hidden, hidden)?;
            let key = Linear::load(weights, &format!("{attention}.pos_key_proj"), hidden, hidden)?;
            Some((query, key))
        };
        let projected = Projected { embeddings: Weight::new(embeddings.shallow_clone()), own };
        let positions = match weights.training() {
            None => Positions::Fixed(projected.distances(&qkv, config.num_attention_heads)?),
            Some(_) => Positions::Trained(projected),
        };
        Ok(Self {
            qkv,
            positions,
            attention_out: Linear::load(weights, &format!("{name}.attention.output.dense"), hidden, hidden)?,
            attention_norm: Norm::load(weights, &format!("{name}.attention.output.LayerNorm"), hidden, eps)?,
            feed_in: Linear::load(weights, &format!("{name}.intermediate.dense"), feed, hidden)?,
            feed_out: Linear::load(weights, &format!("{name}.output.dense"), hidden, feed)?,
            feed_norm: Norm::load(weights, &format!("{name}.output.LayerNorm"), hidden, eps)?,
        })
    }

    fn forward(&self, hidden: &Tensor, padding: Option<&Tensor>, heads: i64) -> Result<Tensor> {
        let attended = self.attend(hidden, padding, heads)?;
        let hidden = self.attention_norm.apply(&self.attention_out.apply_add(&attended, hidden)?)?;
        let fed = self.feed_in.apply_gelu(&hidden)?;
        self.feed_norm.apply(&self.feed_out.apply_add(&fed, &hidden)?)
    }

    fn attend(&self, hidden: &Tensor, padding: Option<&Tensor>, heads: i64) -> Result<Tensor> {
        let projections = Projections::split(&self.qkv.apply(hidden)?, heads)?;
        let computed;
        let distances = match &self.positions {
            Positions::Fixed(distances) => distances,
            Positions::Trained(projected) => {
                computed = projected.distances(&self.qkv, heads)?;
                &computed
            }
        };
        let mut products = distances.products(&projections)?;
        if let Some(padding) = padding {
            products = products.f_masked_fill(padding, f64::NEG_INFINITY)?;
        }
        projections.attend(Some(&products), Some(distances.scale()))
    }
}

impl Projected {
    fn distances(&self, qkv: &Linear, attention_heads: i64) -> Result<Distances> {
        let (queries, keys) = match &self.own {
            Some((query, key)) => (query.apply(&self.embeddings)?, key.apply(&self.embeddings)?),
            None => {
                let projected = qkv.apply(&self.embeddings)?;
                let (_, width) = projected.size2()?;
                (projected.f_narrow(1, 0, width / 3)?, projected.f_narrow(1, width / 3, width / 3)?)
            }
        };
        Distances::new(&queries, &keys, attention_heads)
    }
}

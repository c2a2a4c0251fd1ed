//! A BERT encoder in libtorch that turns texts into sentence embeddings.
//!
//! It computes what `transformers.BertModel` does, with two changes for speed: query, key and value are one matrix
//! product, and the segment embedding, always the same, is added to the positions when loading.

use anyhow::Result;
use tch::Tensor;

use super::config::BertConfig;
use super::pooling;
use super::tokenizer::Tokens;
use super::weights::{Weight, Weights};

/// The encoder. Clones share the weights.
#[derive(Debug, Clone)]
pub struct Bert {
    words: Weight,
    /// Positions plus the embedding of segment 0, `[max positions, hidden]`.
    positions: Weight,
    norm: Norm,
    layers: Vec<Layer>,
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

#[derive(Debug, Clone)]
struct Linear {
    weight: Weight,
    bias: Weight,
}

#[derive(Debug, Clone)]
struct Norm {
    weight: Weight,
    bias: Weight,
    eps: f64,
}

impl Bert {
    /// Builds the encoder from the tensors of a Hugging Face checkpoint.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape than `config` says.
    pub fn load(config: &BertConfig, weights: &mut Weights) -> Result<Self> {
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
            attention_heads: config.num_attention_heads,
            pad_token: config.pad_token_id,
        })
    }

    /// Width of the embeddings.
    #[must_use]
    pub fn hidden_size(&self) -> i64 {
        self.norm.weight.numel() as i64
    }

    /// Number of layers.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// The texts' sentence embeddings: the mean of each text's token vectors, normalised to length 1, as
    /// all-MiniLM-L6-v2 was trained. Returns `[texts, hidden]`.
    ///
    /// # Errors
    /// If libtorch fails, for example because memory ran out.
    pub fn embed(&self, texts: &[&Tokens]) -> Result<Tensor> {
        let batch = Batch::new(texts, self.pad_token, self.words.device())?;
        let mut hidden = self.lookup(&batch)?;
        for layer in &self.layers {
            hidden = layer.forward(&hidden, batch.mask.as_ref(), self.attention_heads)?;
        }
        pooling::sentence_embedding(&hidden, batch.mask.as_ref())
    }

    /// One text's token vectors after each of the first `layers` layers, each `[tokens, hidden]`.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn hidden_states(&self, text: &Tokens, layers: usize) -> Result<Vec<Tensor>> {
        let batch = Batch::new(&[text], self.pad_token, self.words.device())?;
        let mut hidden = self.lookup(&batch)?;
        let mut states = Vec::with_capacity(layers);
        for layer in self.layers.iter().take(layers) {
            hidden = layer.forward(&hidden, None, self.attention_heads)?;
            states.push(hidden.f_squeeze_dim(0)?);
        }
        Ok(states)
    }

    /// What the first layer reads, `[texts, tokens, hidden]`.
    fn lookup(&self, batch: &Batch) -> Result<Tensor> {
        let tokens = batch.tokens()?;
        let words = Tensor::f_embedding(&self.words, &batch.ids, -1, false, false)?;
        self.norm.apply(&words.f_add(&self.positions.f_narrow(0, 0, tokens)?)?)
    }
}

/// Texts of one forward pass, padded to the longest.
struct Batch {
    /// Token ids, `[texts, tokens]`.
    ids: Tensor,
    /// True where a token is not padding, `[texts, tokens]`; none if no text is padded.
    mask: Option<Tensor>,
}

impl Batch {
    fn new(texts: &[&Tokens], pad_token: i64, device: tch::Device) -> Result<Self> {
        let longest = texts.iter().map(|text| text.ids().len()).max().unwrap_or(0);
        let shape = [texts.len() as i64, longest as i64];
        let mut ids = Vec::with_capacity(texts.len() * longest);
        let mut mask = Vec::with_capacity(texts.len() * longest);
        for text in texts {
            let padding = longest - text.ids().len();
            ids.extend_from_slice(text.ids());
            ids.extend(std::iter::repeat_n(pad_token, padding));
            mask.extend(std::iter::repeat_n(true, text.ids().len()));
            mask.extend(std::iter::repeat_n(false, padding));
        }
        let padded = mask.contains(&false);
        let on_device = |tensor: Tensor| tensor.f_view(shape)?.f_to_device(device);
        Ok(Self {
            ids: on_device(Tensor::f_from_slice(&ids)?)?,
            mask: if padded { Some(on_device(Tensor::f_from_slice(&mask)?)?) } else { None },
        })
    }

    fn tokens(&self) -> Result<i64> {
        Ok(self.ids.size2()?.1)
    }
}

impl Layer {
    fn load(weights: &mut Weights, name: &str, config: &BertConfig) -> Result<Self> {
        let (hidden, feed, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let mut projection =
            |part| Linear::load(weights, &format!("{name}.attention.self.{part}"), hidden, hidden);
        let stacked = [projection("query")?, projection("key")?, projection("value")?];
        Ok(Self {
            qkv: Linear {
                weight: Weight::new(Tensor::f_cat(&stacked.each_ref().map(|part| &*part.weight), 0)?),
                bias: Weight::new(Tensor::f_cat(&stacked.each_ref().map(|part| &*part.bias), 0)?),
            },
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

impl Linear {
    fn load(weights: &mut Weights, name: &str, outputs: i64, inputs: i64) -> Result<Self> {
        Ok(Self {
            weight: weights.take(&format!("{name}.weight"), &[outputs, inputs])?,
            bias: weights.take(&format!("{name}.bias"), &[outputs])?,
        })
    }

    fn apply(&self, input: &Tensor) -> Result<Tensor> {
        Ok(input.f_linear(&self.weight, Some(&*self.bias))?)
    }
}

impl Norm {
    fn load(weights: &mut Weights, name: &str, width: i64, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: weights.take(&format!("{name}.weight"), &[width])?,
            bias: weights.take(&format!("{name}.bias"), &[width])?,
            eps,
        })
    }

    fn apply(&self, input: &Tensor) -> Result<Tensor> {
        let width = self.weight.size();
        Ok(input.f_layer_norm(width, Some(&*self.weight), Some(&*self.bias), self.eps, true)?)
    }
}

//! The terms that DeBERTa's attention adds for the distance between a query's and a key's token.

use anyhow::Result;
use tch::{Kind, Tensor};

use super::DebertaConfig;
use crate::model::encoder::attention::Projections;
use crate::model::weights::Weight;

/// One layer's projections of every distance that can occur, times the scale. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Distances {
    /// `[attention heads, width of a head, 2 * max tokens - 1]`; the distance grows along the last dimension.
    queries: Weight,
    /// The same shape; the distance falls along the last dimension.
    keys: Weight,
    scale: f64,
}

impl Distances {
    /// From the projected embeddings, both `[2 * max tokens - 1, hidden]`, in order of distance.
    pub(super) fn new(queries: &Tensor, keys: &Tensor, attention_heads: i64) -> Result<Self> {
        let (distances, hidden) = queries.size2()?;
        let width = hidden / attention_heads;
        // Attention adds three products: content with content, content with distance, distance with content.
        let scale = 1.0 / (3.0 * width as f64).sqrt();
        let by_head = |projected: &Tensor| {
            let projected = projected.f_reshape([distances, attention_heads, width])?;
            anyhow::Ok(projected.f_permute([1, 2, 0])?.f_mul_scalar(scale)?.f_contiguous()?)
        };
        Ok(Self {
            queries: Weight::new(by_head(queries)?),
            keys: Weight::new(by_head(&keys.f_flip([0])?)?),
            scale,
        })
    }

    /// The scale, which also applies to the products of content.
    pub(super) fn scale(&self) -> f64 {
        self.scale
    }

    /// For each pair of tokens, the query's product with the distance's key plus the key's with the distance's query:
    /// `[texts, attention heads, tokens, tokens]`.
    pub(super) fn products(&self, projections: &Projections) -> Result<Tensor> {
        let by_query = by_distance_of_pairs(&projections.query, &self.keys)?;
        let by_key = by_distance_of_pairs(&projections.key, &self.queries)?;
        Ok(by_query.f_add(&by_key.f_transpose(2, 3)?)?)
    }
}

/// The products of each token's content `[texts, heads, tokens, width]` with those distances of `distances`
/// `[heads, width, 2 * max tokens - 1]` that it has to the text's tokens. Returns `[texts, heads, tokens, tokens]`.
fn by_distance_of_pairs(content: &Tensor, distances: &Tensor) -> Result<Tensor> {
    let (texts, heads, tokens, width) = content.size4()?;
    let (_, _, all) = distances.size3()?;
    let used = 2 * tokens - 1;
    let distances = distances.f_narrow(2, (all + 1) / 2 - tokens, used)?;
    // One product a head, for all texts: content is a view, and is not copied.
    let content = content.f_transpose(0, 1)?.f_reshape([heads, texts * tokens, width])?;
    let products = content.f_bmm(&distances)?;
    // Token i needs the products from `tokens - 1 - i` on: the same as with rows that are one shorter, so
    // that each row begins one earlier than the one before. No product is copied.
    let strides = [tokens * used, texts * tokens * used, used - 1, 1];
    Ok(products.f_as_strided([texts, heads, tokens, tokens], strides, tokens - 1)?)
}

/// The embedding of each distance from `1 - max tokens` to `max tokens - 1`, of the buckets' embeddings
/// `[2 * buckets, hidden]`. Returns `[2 * max tokens - 1, hidden]`.
pub(super) fn by_distance(config: &DebertaConfig, embeddings: &Tensor) -> Result<Tensor> {
    let longest = config.max_position_embeddings;
    let distances = Tensor::f_arange_start(1 - longest, longest, (Kind::Int64, embeddings.device()))?;
    let buckets = buckets(&distances, config.position_buckets, config.max_distance())?;
    let span = config.position_buckets;
    Ok(embeddings.f_index_select(0, &buckets.f_add_scalar(span)?.f_clamp(0, 2 * span - 1)?)?)
}

/// The bucket of a distance, with its sign: the distance itself if it is small, else by its logarithm. As in
/// `transformers.models.deberta_v2.modeling_deberta_v2.make_log_bucket_position`, in the same single
/// precision.
fn buckets(distances: &Tensor, buckets: i64, max_distance: i64) -> Result<Tensor> {
    let middle = buckets / 2;
    let single = |number: f64| Tensor::f_from_slice(&[number as f32])?.f_to_device(distances.device());
    let far = distances.f_abs()?;
    let range = single((max_distance - 1) as f64 / middle as f64)?.f_log()?;
    let logarithm = far.f_to_kind(Kind::Float)?.f_div_scalar(middle)?.f_log()?.f_div(&range)?;
    let logarithm = logarithm.f_mul_scalar(middle - 1)?.f_ceil()?.f_add_scalar(middle)?;
    let by_logarithm = logarithm.f_mul(&distances.f_sign()?)?.f_nan_to_num(0.0, 0.0, 0.0)?;
    Ok(distances.f_where_self(&far.f_le(middle)?, &by_logarithm.f_to_kind(Kind::Int64)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_distances_are_their_own_bucket_and_large_ones_share() {
        let distances = Tensor::from_slice(&[0i64, 1, -1, 127, 128, -128, 129, 200, -200, 511]);
        let buckets: Vec<i64> = buckets(&distances, 256, 512).unwrap().try_into().unwrap();
        // The last ones were computed with transformers.
        assert_eq!(buckets, [0, 1, -1, 127, 128, -128, 129, 169, -169, 255]);
    }

    #[test]
    fn each_pair_gets_the_product_with_its_distance() {
        // One head of width 1: the products are content times distance.
        let content = Tensor::from_slice(&[1.0f32, 10.0, 100.0]).view([1, 1, 3, 1]);
        let distances =
            Tensor::from_slice(&[4.0f32, 3.0, 2.0, 1.0, 0.0, -1.0, -2.0, -3.0, -4.0]).view([1, 1, 9]);
        let products = by_distance_of_pairs(&content, &distances).unwrap().view([3, 3]);
        let products: Vec<Vec<f32>> = products.try_into().unwrap();
        assert_eq!(products, [[0.0, -1.0, -2.0], [10.0, 0.0, -10.0], [200.0, 100.0, 0.0]]);
    }
}

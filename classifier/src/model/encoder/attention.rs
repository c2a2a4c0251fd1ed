//! Scaled dot-product attention, from one stacked projection to the token vectors.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

/// Query, key and value, each `[texts, attention heads, tokens, width of a head]`.
pub(super) struct Projections {
    pub(super) query: Tensor,
    pub(super) key: Tensor,
    pub(super) value: Tensor,
}

impl Projections {
    /// Splits the output of a stacked projection, `[texts, tokens, 3 * hidden]`, without copying.
    pub(super) fn split(stacked: &Tensor, attention_heads: i64) -> Result<Self> {
        let (texts, tokens, width) = stacked.size3()?;
        let stacked = stacked.f_view([texts, tokens, 3, attention_heads, width / 3 / attention_heads])?;
        let stacked = stacked.f_permute([2, 0, 3, 1, 4])?;
        let part = |index| stacked.f_select(0, index);
        Ok(Self { query: part(0)?, key: part(1)?, value: part(2)? })
    }

    /// Attends with a mask (of booleans: true is attended to; of numbers: added to the products) that
    /// broadcasts to `[texts, attention heads, tokens, tokens]`. The default scale of the products is one
    /// over the square root of a head's width. Returns `[texts, tokens, hidden]`.
    pub(super) fn attend(&self, mask: Option<&Tensor>, scale: Option<f64>) -> Result<Tensor> {
        let Self { query, key, value } = self;
        let attended = if in_training(query) {
            self.attend_in_products(mask, scale)?
        } else {
            Tensor::f_scaled_dot_product_attention(query, key, value, mask, 0.0, false, scale, false)?
        };
        let (texts, heads, tokens, width) = attended.size4()?;
        Ok(attended.f_transpose(1, 2)?.f_reshape([texts, tokens, heads * width])?)
    }

    /// The same as two products, each over all texts and heads at once.
    fn attend_in_products(&self, mask: Option<&Tensor>, scale: Option<f64>) -> Result<Tensor> {
        let Self { query, key, value } = self;
        let width = query.size4()?.3;
        let scale = scale.unwrap_or_else(|| (width as f64).sqrt().recip());
        let mut products = query.f_mul_scalar(scale)?.f_matmul(&key.f_transpose(2, 3)?)?;
        if let Some(mask) = mask {
            products = match mask.kind() {
                Kind::Bool => products.f_masked_fill(&mask.f_logical_not()?, f64::NEG_INFINITY)?,
                _ => products.f_add(mask)?,
            };
        }
        Ok(products.f_softmax(-1, query.kind())?.f_matmul(value)?)
    }
}

/// Whether gradients will be computed in bf16 on CPU. There, fused attention runs a separate product for each
/// text and head in each direction, and oneDNN takes longer to set up a product than to compute it.
fn in_training(query: &Tensor) -> bool {
    query.requires_grad() && query.kind() == Kind::BFloat16 && query.device() == Device::Cpu
}

/// A batch's mask `[texts, tokens]` as `[texts, 1, 1, tokens]`: the same keys are hidden from every attention head and
/// query.
pub(super) fn over_keys(mask: Option<&Tensor>) -> Result<Option<Tensor>> {
    let over_keys = |mask: &Tensor| anyhow::Ok(mask.f_unsqueeze(1)?.f_unsqueeze(1)?);
    mask.map(over_keys).transpose()
}

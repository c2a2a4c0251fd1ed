//! Rotary positions: queries and keys are turned by an angle for each position, so that their product depends on the
//! distance between them.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use super::ModernBertConfig;
use crate::model::weights::Weight;

/// The rotation of every position. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Rotary {
    /// `[max tokens, width of an attention head]`
    cosines: Weight,
    /// The same shape, with the first half's signs changed, for [`Rotary::rotate`].
    sines: Weight,
}

impl Rotary {
    /// For angles that fall with powers of `1 / theta`.
    pub(super) fn new(config: &ModernBertConfig, theta: f64, device: Device) -> Result<Self> {
        let (width, float) = (config.hidden_size / config.num_attention_heads, (Kind::Float, device));
        let powers = Tensor::f_arange_start_step(0, width, 2, float)?.f_div_scalar(width)?;
        let frequencies = Tensor::f_pow_scalar(theta, &powers)?.f_reciprocal()?;
        let positions = Tensor::f_arange(config.max_position_embeddings, float)?;
        let angles = positions.f_outer(&frequencies)?;
        let (cosines, sines) = (angles.f_cos()?, angles.f_sin()?);
        Ok(Self {
            cosines: Weight::new(Tensor::f_cat(&[&cosines, &cosines], 1)?),
            sines: Weight::new(Tensor::f_cat(&[&sines.f_neg()?, &sines], 1)?),
        })
    }

    /// Turns each token's vector by its position; both `[texts, attention heads, tokens, width of a head]`. Element `i`
    /// turns with element `i + width / 2`.
    pub(super) fn rotate(&self, vectors: &Tensor) -> Result<Tensor> {
        let (_, _, tokens, width) = vectors.size4()?;
        let at = |table: &Tensor| table.f_narrow(0, 0, tokens)?.f_to_kind(vectors.kind());
        let (cosines, sines) = (at(&self.cosines)?, at(&self.sines)?);
        let swapped = vectors.f_roll([width / 2], [3])?;
        Ok(vectors.f_mul(&cosines)?.f_addcmul(&swapped, &sines)?)
    }
}

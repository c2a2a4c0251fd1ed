//! Makes one vector of a text's token vectors.

use anyhow::Result;
use tch::{Kind, Tensor};

/// Tokens at a text's beginning that [`features`] looks at on their own: that is where most prompts say what to do.
const BEGINNING: i64 = 16;

/// The mean of each text's token vectors `[texts, tokens, hidden]`, without those that `mask` `[texts, tokens]` says
/// are padding, normalised to length 1. Returns `[texts, hidden]`.
pub(super) fn sentence_embedding(hidden: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    normalise(&mean(hidden, mask)?)
}

/// What heads read of each text's token vectors `[texts, tokens, hidden]`: the mean of all and the mean of the first
/// [`BEGINNING`], each normalised to length 1, side by side, padding left out. Returns `[texts, 2 * hidden]`.
pub(super) fn features(hidden: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let (_, tokens, _) = hidden.size3()?;
    let narrow = |tensor: &Tensor| tensor.f_narrow(1, 0, tokens.min(BEGINNING));
    let beginning_mask = mask.map(narrow).transpose()?;
    let beginning = mean(&narrow(hidden)?, beginning_mask.as_ref())?;
    Ok(Tensor::f_cat(&[normalise(&mean(hidden, mask)?)?, normalise(&beginning)?], 1)?)
}

/// The mean of each text's token vectors that are not padding, `[texts, hidden]`.
fn mean(hidden: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let Some(mask) = mask else { return Ok(hidden.f_mean_dim(1, false, Kind::Float)?) };
    let mask = mask.f_unsqueeze(-1)?.f_to_kind(Kind::Float)?;
    let sum = hidden.f_mul(&mask)?.f_sum_dim_intlist(1, false, Kind::Float)?;
    Ok(sum.f_div(&mask.f_sum_dim_intlist(1, false, Kind::Float)?)?)
}

/// Number of features, for token vectors of this width.
pub(super) fn features_size(hidden_size: i64) -> i64 {
    2 * hidden_size
}

/// Scales vectors (the last dimension) to length 1; zeros stay zeros (the bound is PyTorch's `normalize` default).
fn normalise(vectors: &Tensor) -> Result<Tensor> {
    let length = vectors.f_norm_scalaropt_dim(2, [-1], true)?.f_clamp_min(1e-12)?;
    Ok(vectors.f_div(&length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_near<const N: usize>(ours: &Tensor, expected: [f32; N]) {
        assert_eq!(ours.size(), [1, N as i64]);
        let difference = (ours - Tensor::from_slice(&expected)).abs().max().double_value(&[]);
        assert!(difference < 1e-6, "{ours:?} differs by {difference}");
    }

    #[test]
    fn padding_does_not_count() {
        let hidden = Tensor::from_slice(&[3.0f32, 0.0, 5.0, 8.0, 100.0, 100.0]).view([1, 3, 2]);
        let mask = Tensor::from_slice(&[true, true, false]).view([1, 3]);
        let half = 0.5f32.sqrt();
        assert_near(&sentence_embedding(&hidden, Some(&mask)).unwrap(), [half, half]);
        assert_near(&features(&hidden, Some(&mask)).unwrap(), [half, half, half, half]);
    }

    #[test]
    fn features_are_the_whole_and_the_beginning() {
        let beginning = Tensor::from_slice(&[0.0f32, 1.0]).repeat([BEGINNING, 1]);
        let rest = Tensor::from_slice(&[1.0f32, 0.0]).repeat([BEGINNING, 1]);
        let hidden = Tensor::cat(&[beginning, rest], 0).unsqueeze(0);
        let half = 0.5f32.sqrt();
        assert_near(&features(&hidden, None).unwrap(), [half, half, 0.0, 1.0]);
    }

    #[test]
    fn a_short_text_is_all_beginning() {
        let hidden = Tensor::from_slice2(&[[2.0f32, 0.0]]).unsqueeze(0);
        assert_near(&features(&hidden, None).unwrap(), [1.0, 0.0, 1.0, 0.0]);
    }
}

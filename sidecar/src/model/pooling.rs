//! Makes one vector of a text's token vectors.

use anyhow::Result;
use tch::{Kind, Tensor};

/// Tokens at a text's beginning that [`features`] looks at on their own: that is where most prompts say what to do.
const BEGINNING: i64 = 16;

/// The mean of each text's token vectors `[texts, tokens, hidden]`, without those that `mask` `[texts, tokens]` says
/// are padding, normalised to length 1. Returns `[texts, hidden]`.
pub(super) fn sentence_embedding(hidden: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let Some(mask) = mask else { return normalise(&hidden.f_mean_dim(1, false, Kind::Float)?) };
    let mask = mask.f_unsqueeze(-1)?.f_to_kind(Kind::Float)?;
    let sum = hidden.f_mul(&mask)?.f_sum_dim_intlist(1, false, Kind::Float)?;
    let count = mask.f_sum_dim_intlist(1, false, Kind::Float)?;
    normalise(&sum.f_div(&count)?)
}

/// What heads read of one text's token vectors `[tokens, hidden]`: the mean of all and the mean of the first
/// [`BEGINNING`], each normalised to length 1, side by side. Returns `[2 * hidden]`.
pub(super) fn features(hidden: &Tensor) -> Result<Tensor> {
    let tokens = hidden.size2()?.0;
    let beginning = hidden.f_narrow(0, 0, tokens.min(BEGINNING))?;
    let mean = |vectors: &Tensor| normalise(&vectors.f_mean_dim(0, false, Kind::Float)?);
    Ok(Tensor::f_cat(&[mean(hidden)?, mean(&beginning)?], 0)?)
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

    #[test]
    fn padding_does_not_count() {
        let hidden = Tensor::from_slice(&[3.0f32, 0.0, 5.0, 8.0, 100.0, 100.0]).view([1, 3, 2]);
        let mask = Tensor::from_slice(&[true, true, false]).view([1, 3]);
        let embedding: Vec<Vec<f32>> = sentence_embedding(&hidden, Some(&mask)).unwrap().try_into().unwrap();
        assert!((embedding[0][0] - 0.5f32.sqrt()).abs() < 1e-6, "{embedding:?}");
    }

    #[test]
    fn features_are_the_whole_and_the_beginning() {
        let beginning = Tensor::from_slice(&[0.0f32, 1.0]).repeat([BEGINNING, 1]);
        let rest = Tensor::from_slice(&[1.0f32, 0.0]).repeat([BEGINNING, 1]);
        let features: Vec<f32> = features(&Tensor::cat(&[beginning, rest], 0)).unwrap().try_into().unwrap();
        let half = 0.5f32.sqrt();
        for (ours, expected) in features.iter().zip([half, half, 0.0, 1.0]) {
            assert!((ours - expected).abs() < 1e-6, "{features:?}");
        }
    }

    #[test]
    fn a_short_text_is_all_beginning() {
        let features: Vec<f32> =
            features(&Tensor::from_slice2(&[[2.0f32, 0.0]])).unwrap().try_into().unwrap();
        assert_eq!(features, [1.0, 0.0, 1.0, 0.0]);
    }
}

//! Combines a text's token vectors into one vector.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// The number of tokens at a text's beginning that [`Pooling::MeanAndBeginning`] also averages separately,
/// because most prompts say there what to do.
const BEGINNING: i64 = 16;

/// The mean of each text's token vectors `[texts, tokens, hidden]`, without those that `mask` `[texts, tokens]` says
/// are padding, normalised to length 1. Returns `[texts, hidden]`.
pub(super) fn sentence_embedding(hidden: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    normalise(&mean(hidden, mask)?)
}

/// How a head combines a text's token vectors into one vector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The mean of all and the mean of the first [`BEGINNING`], each normalised to length 1, side by side.
    #[default]
    MeanAndBeginning,
    /// The mean of all.
    Mean,
    /// The first token's vector, which BERT trains to represent the whole text.
    First,
    /// The only vector, for models that return one vector per text. The head has no linear layer, because the
    /// vector already consists of logits.
    None,
}

impl Pooling {
    /// One vector for each text's token vectors `[texts, tokens, hidden]`, padding left out. Returns `[texts, width]`.
    ///
    /// # Errors
    /// If there are several vectors where there must be one, or libtorch fails.
    pub(crate) fn apply(self, hidden: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let (_, tokens, _) = hidden.size3()?;
        match self {
            Self::MeanAndBeginning => {
                let narrow = |tensor: &Tensor| tensor.f_narrow(1, 0, tokens.min(BEGINNING));
                let beginning_mask = mask.filter(|_| tokens > 1).map(narrow).transpose()?;
                let beginning = mean(&narrow(hidden)?, beginning_mask.as_ref())?;
                Ok(Tensor::f_cat(&[normalise(&mean(hidden, mask)?)?, normalise(&beginning)?], 1)?)
            }
            Self::Mean => mean(hidden, mask),
            Self::First => Ok(hidden.f_select(1, 0)?.f_to_kind(Kind::Float)?),
            Self::None => {
                ensure!(tokens == 1, "pooling \"none\" needs a model that outputs one vector per text");
                Ok(hidden.f_select(1, 0)?.f_to_kind(Kind::Float)?)
            }
        }
    }

    /// Width of the vectors, for token vectors of this width.
    pub(crate) fn width(self, hidden_size: i64) -> i64 {
        match self {
            Self::MeanAndBeginning => 2 * hidden_size,
            Self::Mean | Self::First | Self::None => hidden_size,
        }
    }
}

/// The mean of each text's token vectors that are not padding, `[texts, hidden]`.
fn mean(hidden: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    // A model that returns one vector per text has already left out the padding.
    let mask = mask.filter(|mask| mask.size().get(1) == hidden.size().get(1));
    let Some(mask) = mask else { return Ok(hidden.f_mean_dim(1, false, Kind::Float)?) };
    let mask = mask.f_unsqueeze(-1)?.f_to_kind(Kind::Float)?;
    let sum = hidden.f_mul(&mask)?.f_sum_dim_intlist(1, false, Kind::Float)?;
    Ok(sum.f_div(&mask.f_sum_dim_intlist(1, false, Kind::Float)?)?)
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
        assert_near(
            &Pooling::MeanAndBeginning.apply(&hidden, Some(&mask)).unwrap(),
            [half, half, half, half],
        );
    }

    #[test]
    fn features_are_the_whole_and_the_beginning() {
        let beginning = Tensor::from_slice(&[0.0f32, 1.0]).repeat([BEGINNING, 1]);
        let rest = Tensor::from_slice(&[1.0f32, 0.0]).repeat([BEGINNING, 1]);
        let hidden = Tensor::cat(&[beginning, rest], 0).unsqueeze(0);
        let half = 0.5f32.sqrt();
        assert_near(&Pooling::MeanAndBeginning.apply(&hidden, None).unwrap(), [half, half, 0.0, 1.0]);
    }

    #[test]
    fn a_short_text_is_all_beginning() {
        let hidden = Tensor::from_slice2(&[[2.0f32, 0.0]]).unsqueeze(0);
        assert_near(&Pooling::MeanAndBeginning.apply(&hidden, None).unwrap(), [1.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn the_means_leave_out_padding_and_the_first_token_is_the_first() {
        let hidden = Tensor::from_slice(&[3.0f32, 0.0, 5.0, 8.0, 100.0, 100.0]).view([1, 3, 2]);
        let mask = Tensor::from_slice(&[true, true, false]).view([1, 3]);
        assert_near(&Pooling::Mean.apply(&hidden, Some(&mask)).unwrap(), [4.0, 4.0]);
        assert_near(&Pooling::First.apply(&hidden, Some(&mask)).unwrap(), [3.0, 0.0]);
    }

    #[test]
    fn a_single_vector_per_text_is_used_unchanged() {
        let hidden = Tensor::from_slice(&[3.0f32, 1.0]).view([1, 1, 2]);
        let mask = Tensor::from_slice(&[true, true, false]).view([1, 3]);
        for pooling in [Pooling::None, Pooling::Mean, Pooling::First] {
            assert_near(&pooling.apply(&hidden, Some(&mask)).unwrap(), [3.0, 1.0]);
        }
        assert!(Pooling::None.apply(&hidden.repeat([1, 2, 1]), None).is_err());
    }
}

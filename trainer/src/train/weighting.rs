//! The weights of rows in the loss.

use std::fmt;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// How rows are weighted by their label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum ClassWeights {
    /// All labels the same.
    #[default]
    Uniform,
    /// By one over the square root of the label's weight.
    SquareRoot,
    /// By one over the label's weight, so that all labels have the same weight in total.
    Balanced,
}

impl ClassWeights {
    fn exponent(self) -> f64 {
        match self {
            Self::Uniform => 0.0,
            Self::SquareRoot => -0.5,
            Self::Balanced => -1.0,
        }
    }
}

impl fmt::Display for ClassWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uniform => "uniform",
            Self::SquareRoot => "square root",
            Self::Balanced => "balanced",
        })
    }
}

/// Weights of rows by their source, `[rows]`: the source's factor times one over the square root of its number of rows, so
/// that a large public set does not drown a small one with the prompts that matter.
pub(super) fn by_source(sources: &[usize], factors: &[f64]) -> Result<Tensor> {
    let count = |source| sources.iter().filter(|&&other| other == source).count();
    let weight = |(source, factor): (usize, &f64)| *factor as f32 / (count(source).max(1) as f32).sqrt();
    let weights: Vec<_> = factors.iter().enumerate().map(weight).collect();
    let weight = |source: &usize| weights.get(*source).copied().unwrap_or(1.0);
    Ok(Tensor::f_from_slice(&sources.iter().map(weight).collect::<Vec<_>>())?)
}

/// Adjusts weights `[rows]` by the total weight of each row's label. `targets` `[rows]` are the labels.
pub(super) fn by_class(
    weights: &Tensor,
    targets: &Tensor,
    labels: i64,
    kind: ClassWeights,
) -> Result<Tensor> {
    let of_label = targets.f_bincount(Some(weights), labels)?.f_clamp_min(f64::from(f32::MIN_POSITIVE))?;
    let factors = of_label.f_pow_tensor_scalar(kind.exponent())?.f_index_select(0, targets)?;
    Ok(weights.f_mul(&factors)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor).unwrap()
    }

    #[test]
    fn a_source_is_weighted_by_the_root_of_its_size() {
        assert_eq!(numbers(&by_source(&[0, 0, 1, 0, 0], &[1.0, 3.0]).unwrap()), [0.5, 0.5, 3.0, 0.5, 0.5]);
    }

    #[test]
    fn balanced_labels_have_the_same_total_weight() {
        let targets = Tensor::from_slice(&[0i64, 0, 0, 0, 2]);
        let rows = Tensor::from_slice(&[1.0f32; 5]);
        let weights = |kind| numbers(&by_class(&rows, &targets, 3, kind).unwrap());
        assert_eq!(weights(ClassWeights::Uniform), [1.0; 5]);
        assert_eq!(weights(ClassWeights::SquareRoot), [0.5, 0.5, 0.5, 0.5, 1.0]);
        assert_eq!(weights(ClassWeights::Balanced), [0.25, 0.25, 0.25, 0.25, 1.0]);
    }
}

//! From a head's logits to its output.

use std::sync::Arc;

use anyhow::Result;
use tch::{Kind, Tensor};

use super::nvidia_complexity::NvidiaComplexity;

/// Scales weights so that they add up to 1.
#[must_use]
pub fn normalized(weights: &[f32]) -> Vec<f32> {
    let sum: f32 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// What a head's logits mean.
#[derive(Debug, Clone)]
pub enum Output {
    /// One of the labels is true: softmax.
    SingleLabel,
    /// Any of the labels can be true: a sigmoid each.
    MultiLabel,
    /// A score: the mean of the dimensions, a sigmoid each, with these weights, which add up to 1.
    Score(Arc<[f32]>),
    /// The seven complexity heads of NVIDIA's classifier, side by side.
    NvidiaComplexity(NvidiaComplexity),
}

impl Output {
    /// The meaning of each text's logits `[texts, outputs]`: a number from 0 to 1 for each label or dimension, and the
    /// score if there is one.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(super) fn read(&self, logits: &Tensor) -> Result<Vec<(Vec<f32>, Option<f32>)>> {
        let numbers = match self {
            Self::SingleLabel => logits.f_softmax(-1, Kind::Float)?,
            Self::MultiLabel | Self::Score(_) => logits.f_sigmoid()?,
            Self::NvidiaComplexity(complexity) => complexity.dimensions(logits)?,
        };
        let rows = Vec::<Vec<f32>>::try_from(numbers)?;
        Ok(rows.into_iter().map(|numbers| self.with_score(numbers)).collect())
    }

    fn with_score(&self, mut numbers: Vec<f32>) -> (Vec<f32>, Option<f32>) {
        let score: f32 = match self {
            Self::SingleLabel | Self::MultiLabel => return (numbers, None),
            Self::Score(weights) => numbers.iter().zip(weights.iter()).map(|(a, b)| a * b).sum(),
            Self::NvidiaComplexity(complexity) => complexity.score(&numbers),
        };
        numbers.iter_mut().for_each(|number| *number = number.clamp(0.0, 1.0));
        (numbers, Some(score.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &Output, logits: &[f32]) -> (Vec<f32>, Option<f32>) {
        output.read(&Tensor::from_slice(logits).unsqueeze(0)).unwrap().remove(0)
    }

    #[test]
    fn the_probabilities_of_one_label_of_many_add_up_to_1() {
        assert_eq!(read(&Output::SingleLabel, &[2.0, 2.0, 2.0, 2.0]), (vec![0.25; 4], None));
    }

    #[test]
    fn each_of_several_labels_has_an_independent_probability() {
        assert_eq!(read(&Output::MultiLabel, &[0.0, 0.0, 100.0]), (vec![0.5, 0.5, 1.0], None));
    }

    #[test]
    fn a_score_is_the_weighted_mean_of_its_dimensions() {
        let output = Output::Score([0.25, 0.75].into());
        assert_eq!(read(&output, &[100.0, 0.0]), (vec![1.0, 0.5], Some(0.625)));
    }
}

//! NVIDIA's complexity: a weighted sum of seven dimensions, each the expectation of a small softmax.

use std::sync::Arc;

use anyhow::{Context, Result};
use tch::{Kind, Tensor};

use crate::model::weights::Weight;

/// A dimension.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Dimension {
    /// Its name in the checkpoint's config.
    target: &'static str,
    /// Its name in predictions.
    name: &'static str,
    /// Its weight in the complexity.
    weight: f32,
    /// Smaller values count as 0.
    min: f32,
}

/// The model card's dimensions.
const DIMENSIONS: [Dimension; 7] = [
    Dimension { target: "creativity_scope", name: "creativity", weight: 0.35, min: 0.0 },
    Dimension { target: "reasoning", name: "reasoning", weight: 0.25, min: 0.0 },
    Dimension { target: "contextual_knowledge", name: "contextual_knowledge", weight: 0.05, min: 0.0 },
    Dimension { target: "number_of_few_shots", name: "few_shots", weight: 0.05, min: 0.05 },
    Dimension { target: "domain_knowledge", name: "domain_knowledge", weight: 0.15, min: 0.0 },
    Dimension { target: "no_label_reason", name: "no_label_reason", weight: 0.0, min: 0.0 },
    Dimension { target: "constraint_ct", name: "constraints", weight: 0.15, min: 0.0 },
];

/// How logits become dimensions, and dimensions the complexity. Clones share the weights.
#[derive(Debug, Clone)]
pub struct NvidiaComplexity {
    dimensions: Arc<[Dimension]>,
    /// The weight of each output of each dimension's head, `[outputs]` each.
    weightings: Vec<Weight>,
}

impl NvidiaComplexity {
    /// For heads in this order, each with its name in the config and the weights of its outputs. Also returns the
    /// dimensions' names in predictions.
    ///
    /// # Errors
    /// If a head is not one of the seven.
    pub(crate) fn new(heads: &[(&str, Vec<f64>)]) -> Result<(Self, Vec<String>)> {
        let find = |target: &str| {
            let found = DIMENSIONS.into_iter().find(|dimension| dimension.target == target);
            found.with_context(|| format!("target_sizes.{target} is not a known dimension"))
        };
        let dimensions: Vec<_> = heads.iter().map(|(target, _)| find(target)).collect::<Result<_>>()?;
        let weighting = |(_, weights): &(&str, Vec<f64>)| {
            anyhow::Ok(Weight::new(Tensor::f_from_slice(weights)?.f_to_kind(Kind::Float)?))
        };
        let weightings = heads.iter().map(weighting).collect::<Result<_>>()?;
        let names = dimensions.iter().map(|dimension| dimension.name.to_owned()).collect();
        Ok((Self { dimensions: dimensions.into(), weightings }, names))
    }

    /// Each text's dimensions `[texts, dimensions]`, of the heads' logits side by side, on CPU. `few_shots`
    /// is a number of examples; the others are between 0 and 1.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(crate) fn dimensions(&self, logits: &Tensor) -> Result<Tensor> {
        let mut columns = Vec::with_capacity(self.weightings.len());
        let mut first = 0;
        for (dimension, weighting) in self.dimensions.iter().zip(&self.weightings) {
            let outputs = weighting.size1()?;
            let probabilities = logits.f_narrow(1, first, outputs)?.f_softmax(-1, Kind::Float)?;
            first += outputs;
            // NVIDIA rounds to four digits before the comparison with the minimum.
            let column = probabilities.f_mv(weighting)?.f_mul_scalar(1e4)?.f_round()?.f_div_scalar(1e4)?;
            let enough = column.f_ge(f64::from(dimension.min) - 1e-6)?;
            columns.push(column.f_mul(&enough)?);
        }
        Ok(Tensor::f_stack(&columns, 1)?)
    }

    /// The weighted sum of the dimensions, in their order.
    #[must_use]
    pub fn score(&self, dimensions: &[f32]) -> f32 {
        self.dimensions.iter().zip(dimensions).map(|(dimension, number)| dimension.weight * number).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the published config has it.
    fn published() -> NvidiaComplexity {
        let heads = [
            ("creativity_scope", vec![1.0, 0.5, 0.0]),
            ("reasoning", vec![0.0, 1.0]),
            ("contextual_knowledge", vec![0.0, 1.0]),
            ("number_of_few_shots", vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
            ("domain_knowledge", vec![1.0, 1.0 / 3.0, 2.0 / 3.0, 0.0]),
            ("no_label_reason", vec![0.0]),
            ("constraint_ct", vec![1.0, 0.0]),
        ];
        NvidiaComplexity::new(&heads).unwrap().0
    }

    #[test]
    fn the_model_cards_example_has_the_model_cards_score() {
        // "Prompt: Write a Python script that uses a for loop."
        let dimensions = [0.0826, 0.0632, 0.056, 0.0, 0.9803, 0.0, 0.5578];
        let score = published().score(&dimensions);
        assert!((score - 0.27822).abs() < 1e-5, "{score}");
    }

    #[test]
    fn dimensions_are_expectations_and_small_few_shots_count_as_zero() {
        let far = 100.0f32;
        let row = |few_shots: f32| {
            let mut logits = vec![0.0, far, 0.0, 0.0, 0.0, 0.0, far];
            // One example with the probability `few_shots`, else none.
            logits.extend([(1.0 - few_shots).ln(), few_shots.ln(), -far, -far, -far, -far]);
            logits.extend([far, 0.0, 0.0, 0.0, 7.0, 0.0, 0.0]);
            Tensor::from_slice(&logits).unsqueeze(0)
        };
        let dimensions = |few_shots| {
            Vec::<f32>::try_from(published().dimensions(&row(few_shots)).unwrap().view(-1)).unwrap()
        };
        assert_eq!(dimensions(0.04), [0.5, 0.5, 1.0, 0.0, 1.0, 0.0, 0.5]);
        assert_eq!(dimensions(0.05), [0.5, 0.5, 1.0, 0.05, 1.0, 0.0, 0.5]);
    }

    #[test]
    fn an_unknown_dimension_is_named() {
        let error = NvidiaComplexity::new(&[("mood", vec![1.0])]).unwrap_err().to_string();
        assert!(error.contains("target_sizes.mood"), "{error}");
    }
}

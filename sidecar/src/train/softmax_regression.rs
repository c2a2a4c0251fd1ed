//! Fits a head: multinomial logistic regression on features, full batch, hence deterministic.

use anyhow::Result;
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Reduction, Tensor};

use crate::model::heads;
use crate::model::weights::Weight;

/// Steps of the optimiser.
const STEPS: i32 = 400;
/// Adam's first step size, which falls to zero along a cosine. Features have length 1, so weights become large.
const LEARNING_RATE: f64 = 0.5;

/// Rows as a head sees them, with their labels' indices.
#[derive(Debug)]
pub(super) struct Examples {
    /// `[rows, features]`
    pub(super) features: Tensor,
    /// `[rows]`
    pub(super) targets: Tensor,
}

impl Examples {
    /// Some of the rows.
    pub(super) fn select(&self, rows: &[usize]) -> Result<Self> {
        let rows: Vec<_> = rows.iter().map(|&row| row as i64).collect();
        let rows = Tensor::f_from_slice(&rows)?;
        Ok(Self {
            features: self.features.f_index_select(0, &rows)?,
            targets: self.targets.f_index_select(0, &rows)?,
        })
    }

    /// Another handle on the same memory, for another thread.
    pub(super) fn share(&self) -> Self {
        Self { features: self.features.shallow_clone(), targets: self.targets.shallow_clone() }
    }
}

/// A linear layer.
#[derive(Debug)]
pub(super) struct Linear {
    /// `[labels, features]`
    weight: Tensor,
    /// `[labels]`
    bias: Tensor,
}

impl Linear {
    /// Fits examples that count by `weights` `[rows]`. `l2` is the squared weights' factor in the loss.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(super) fn fit(examples: &Examples, weights: &Tensor, labels: i64, l2: f64) -> Result<Self> {
        let variables = nn::VarStore::new(Device::Cpu);
        let weight = variables.root().f_zeros("weight", &[labels, examples.features.size2()?.1])?;
        let bias = variables.root().f_zeros("bias", &[labels])?;
        let weights = weights.f_div(&weights.f_sum(Kind::Float)?)?;
        let mut optimizer = nn::Adam::default().build(&variables, LEARNING_RATE)?;
        for step in 0..STEPS {
            let progress = f64::from(step) / f64::from(STEPS);
            optimizer.set_lr(LEARNING_RATE * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()));
            let loss = losses(examples, &weight, &bias)?.f_dot(&weights)?;
            let penalty = weight.f_square()?.f_sum(Kind::Float)?.f_mul_scalar(l2)?;
            optimizer.zero_grad();
            loss.f_add(&penalty)?.f_backward()?;
            optimizer.step();
        }
        Ok(Self { weight: weight.f_detach()?, bias: bias.f_detach()? })
    }

    /// The head's numbers.
    pub(super) fn into_head(self) -> heads::Linear {
        heads::Linear { weight: Weight::new(self.weight), bias: Weight::new(self.bias) }
    }

    /// The mean of minus the logarithm of the true labels' probabilities; rows count by `weights` `[rows]`.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(super) fn log_loss(&self, examples: &Examples, weights: &Tensor) -> Result<f64> {
        let weights = weights.f_div(&weights.f_sum(Kind::Float)?)?;
        let losses = losses(examples, &self.weight, &self.bias)?;
        Ok(f64::try_from(losses.f_dot(&weights)?)?)
    }

    /// The most likely label's index of each row of `features` `[rows, features]`.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(super) fn predict(&self, features: &Tensor) -> Result<Vec<i64>> {
        let logits = features.f_linear(&self.weight, Some(&self.bias))?;
        Ok(Vec::try_from(logits.f_argmax(1, false)?)?)
    }
}

/// The cross-entropy of each example, `[rows]`.
fn losses(examples: &Examples, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let logits = examples.features.f_linear(weight, Some(bias))?;
    Ok(logits.f_cross_entropy_loss(&examples.targets, None::<Tensor>, Reduction::None, -100, 0.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unit vectors around one axis a label, with a fixed disturbance.
    fn clusters() -> Examples {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut features, mut targets) = (Vec::new(), Vec::new());
        for row in 0..90usize {
            let label = row % 3;
            let mut vector = [0.0f32; 3].map(|_| random.f32() * 0.4);
            vector[label] += 1.0;
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            features.extend(vector.map(|x| x / length));
            targets.push(label as i64);
        }
        Examples {
            features: Tensor::from_slice(&features).view([90, 3]),
            targets: Tensor::from_slice(&targets),
        }
    }

    fn fit(examples: &Examples) -> Linear {
        let weights = examples.targets.ones_like().to_kind(Kind::Float);
        Linear::fit(examples, &weights, 3, 1e-5).unwrap()
    }

    #[test]
    fn separable_labels_are_learnt() {
        let examples = clusters();
        let predicted = fit(&examples).predict(&examples.features).unwrap();
        assert_eq!(predicted, Vec::<i64>::try_from(examples.targets).unwrap());
    }

    #[test]
    fn the_same_data_give_the_same_weights() {
        let examples = clusters();
        let (one, two) = (fit(&examples), fit(&examples));
        assert_eq!((one.weight, one.bias), (two.weight, two.bias));
    }

    #[test]
    fn a_heavier_row_wins_a_contradiction() {
        let examples = Examples {
            features: Tensor::from_slice2(&[[1.0f32], [1.0]]),
            targets: Tensor::from_slice(&[0i64, 1]),
        };
        let linear = Linear::fit(&examples, &Tensor::from_slice(&[1.0f32, 3.0]), 2, 1e-5).unwrap();
        assert_eq!(linear.predict(&examples.features).unwrap(), [1, 1]);
    }
}

//! Fits a head: logistic regression on features, multinomial for one label, full batch, hence deterministic.

use anyhow::Result;
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor};

use super::loss;
use super::plan;
use llm_router_classifier::model::heads;
use llm_router_classifier::model::weights::Weight;

/// Steps of the optimiser.
const STEPS: i32 = 400;
/// Adam's first step size, which falls to zero along a cosine. Features have length 1, so weights become large.
const LEARNING_RATE: f64 = 0.5;

/// Rows as a head sees them, with what it should answer.
#[derive(Debug)]
pub(super) struct Examples {
    pub(super) kind: plan::Kind,
    /// `[rows, features]`
    pub(super) features: Tensor,
    /// As [`super::task::HeadTask::targets`] makes them.
    pub(super) targets: Tensor,
}

impl Examples {
    /// Some of the rows.
    pub(super) fn select(&self, rows: &[usize]) -> Result<Self> {
        let rows: Vec<_> = rows.iter().map(|&row| row as i64).collect();
        let rows = Tensor::f_from_slice(&rows)?;
        Ok(Self {
            kind: self.kind,
            features: self.features.f_index_select(0, &rows)?,
            targets: self.targets.f_index_select(0, &rows)?,
        })
    }

    /// Another handle on the same memory, for another thread.
    pub(super) fn share(&self) -> Self {
        let Self { kind, features, targets } = self;
        Self { kind: *kind, features: features.shallow_clone(), targets: targets.shallow_clone() }
    }
}

/// A linear layer.
#[derive(Debug)]
pub(super) struct Linear {
    /// `[outputs, features]`
    pub(super) weight: Tensor,
    /// `[outputs]`
    pub(super) bias: Tensor,
}

impl Linear {
    /// Fits examples that count by `weights` `[rows]`. `l2` is the squared weights' factor in the loss.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(super) fn fit(examples: &Examples, weights: &Tensor, outputs: i64, l2: f64) -> Result<Self> {
        let variables = nn::VarStore::new(Device::Cpu);
        let weight = variables.root().f_zeros("weight", &[outputs, examples.features.size2()?.1])?;
        let bias = variables.root().f_zeros("bias", &[outputs])?;
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

    /// The mean loss; rows count by `weights` `[rows]`.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(super) fn log_loss(&self, examples: &Examples, weights: &Tensor) -> Result<f64> {
        let weights = weights.f_div(&weights.f_sum(Kind::Float)?)?;
        let losses = losses(examples, &self.weight, &self.bias)?;
        Ok(f64::try_from(losses.f_dot(&weights)?)?)
    }

    /// What it says of `features` `[rows, features]`: `[rows, outputs]`.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(super) fn logits(&self, features: &Tensor) -> Result<Tensor> {
        Ok(features.f_linear(&self.weight, Some(&self.bias))?)
    }
}

/// The loss of each example, `[rows]`.
fn losses(examples: &Examples, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let logits = examples.features.f_linear(weight, Some(bias))?;
    loss::losses(examples.kind, &logits, &examples.targets, 0.0)
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
            kind: plan::Kind::SingleLabel,
            features: Tensor::from_slice(&features).view([90, 3]),
            targets: Tensor::from_slice(&targets),
        }
    }

    fn predict(linear: &Linear, examples: &Examples) -> Vec<i64> {
        linear.logits(&examples.features).unwrap().argmax(1, false).try_into().unwrap()
    }

    #[test]
    fn numbers_are_learnt() {
        let features = Tensor::from_slice(&[0.0f32, 1.0, 2.0]).view([3, 1]);
        let targets = Tensor::from_slice(&[0.2f32, 0.5, 0.8]).view([3, 1]);
        let examples = Examples { kind: plan::Kind::Score, features, targets };
        let linear = Linear::fit(&examples, &Tensor::ones([3], (Kind::Float, Device::Cpu)), 1, 0.0).unwrap();
        let answers: Vec<f32> =
            linear.logits(&examples.features).unwrap().sigmoid().view(-1).try_into().unwrap();
        for (answer, target) in answers.iter().zip([0.2, 0.5, 0.8]) {
            assert!((answer - target).abs() < 1e-3, "{answers:?}");
        }
    }

    fn fit(examples: &Examples) -> Linear {
        let weights = examples.targets.ones_like().to_kind(Kind::Float);
        Linear::fit(examples, &weights, 3, 1e-5).unwrap()
    }

    #[test]
    fn separable_labels_are_learnt() {
        let examples = clusters();
        assert_eq!(predict(&fit(&examples), &examples), Vec::<i64>::try_from(examples.targets).unwrap());
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
            kind: plan::Kind::SingleLabel,
            features: Tensor::from_slice2(&[[1.0f32], [1.0]]),
            targets: Tensor::from_slice(&[0i64, 1]),
        };
        let linear = Linear::fit(&examples, &Tensor::from_slice(&[1.0f32, 3.0]), 2, 1e-5).unwrap();
        assert_eq!(predict(&linear, &examples), [1, 1]);
    }
}

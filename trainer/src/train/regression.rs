//! Fits a head: logistic regression, multinomial if each row has one label. It uses full batches, so it is deterministic.

use anyhow::Result;
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor};

use super::loss;
use super::plan::HeadKind;
use llm_router_classifier::model::heads;
use llm_router_classifier::model::weights::Weight;

/// Steps of the optimiser.
const STEPS: i32 = 400;
/// Adam's first step size, which falls to zero along a cosine. Features have length 1, so weights become large.
const LEARNING_RATE: f64 = 0.5;

/// The input vectors of a head, with their targets.
#[derive(Debug)]
pub(super) struct LabelledFeatures {
    pub(super) kind: HeadKind,
    /// `[rows, features]`
    pub(super) features: Tensor,
    /// As [`super::task::HeadTask::targets`] makes them.
    pub(super) targets: Tensor,
}

impl LabelledFeatures {
    /// Selects some of the rows.
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
    pub(super) fn shallow_clone(&self) -> Self {
        let Self { kind, features, targets } = self;
        Self { kind: *kind, features: features.shallow_clone(), targets: targets.shallow_clone() }
    }
}

/// A logistic regression: a linear layer whose outputs are logits.
#[derive(Debug)]
pub(super) struct LogisticRegression {
    /// `[outputs, features]`
    pub(super) weight: Tensor,
    /// `[outputs]`
    pub(super) bias: Tensor,
}

impl LogisticRegression {
    /// Fits rows with the weights `weights` `[rows]`. `l2` is the factor of the squared parameters in the loss.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(super) fn fit(rows: &LabelledFeatures, weights: &Tensor, outputs: i64, l2: f64) -> Result<Self> {
        let variables = nn::VarStore::new(Device::Cpu);
        let weight = variables.root().f_zeros("weight", &[outputs, rows.features.size2()?.1])?;
        let bias = variables.root().f_zeros("bias", &[outputs])?;
        let weights = weights.f_div(&weights.f_sum(Kind::Float)?)?;
        let mut optimizer = nn::Adam::default().build(&variables, LEARNING_RATE)?;
        for step in 0..STEPS {
            let progress = f64::from(step) / f64::from(STEPS);
            optimizer.set_lr(LEARNING_RATE * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()));
            let loss = losses(rows, &weight, &bias)?.f_dot(&weights)?;
            let penalty = weight.f_square()?.f_sum(Kind::Float)?.f_mul_scalar(l2)?;
            optimizer.zero_grad();
            loss.f_add(&penalty)?.f_backward()?;
            optimizer.step();
        }
        Ok(Self { weight: weight.f_detach()?, bias: bias.f_detach()? })
    }

    /// The layer of a head.
    pub(super) fn into_head(self) -> heads::Linear {
        heads::Linear { weight: Weight::new(self.weight), bias: Weight::new(self.bias) }
    }

    /// The mean loss of rows with the weights `weights` `[rows]`.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(super) fn log_loss(&self, rows: &LabelledFeatures, weights: &Tensor) -> Result<f64> {
        let weights = weights.f_div(&weights.f_sum(Kind::Float)?)?;
        let losses = losses(rows, &self.weight, &self.bias)?;
        Ok(f64::try_from(losses.f_dot(&weights)?)?)
    }

    /// Logits `[rows, outputs]` for `features` `[rows, features]`.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(super) fn logits(&self, features: &Tensor) -> Result<Tensor> {
        Ok(features.f_linear(&self.weight, Some(&self.bias))?)
    }
}

/// The loss of each row, `[rows]`.
fn losses(rows: &LabelledFeatures, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let logits = rows.features.f_linear(weight, Some(bias))?;
    loss::losses(rows.kind, &logits, &rows.targets, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unit vectors around one axis per label, with random noise.
    fn clusters() -> LabelledFeatures {
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
        LabelledFeatures {
            kind: HeadKind::SingleLabel,
            features: Tensor::from_slice(&features).view([90, 3]),
            targets: Tensor::from_slice(&targets),
        }
    }

    fn predict(linear: &LogisticRegression, rows: &LabelledFeatures) -> Vec<i64> {
        linear.logits(&rows.features).unwrap().argmax(1, false).try_into().unwrap()
    }

    #[test]
    fn numbers_are_learned() {
        let features = Tensor::from_slice(&[0.0f32, 1.0, 2.0]).view([3, 1]);
        let targets = Tensor::from_slice(&[0.2f32, 0.5, 0.8]).view([3, 1]);
        let rows = LabelledFeatures { kind: HeadKind::Score, features, targets };
        let linear =
            LogisticRegression::fit(&rows, &Tensor::ones([3], (Kind::Float, Device::Cpu)), 1, 0.0).unwrap();
        let predicted: Vec<f32> =
            linear.logits(&rows.features).unwrap().sigmoid().view(-1).try_into().unwrap();
        for (predicted, target) in predicted.iter().zip([0.2, 0.5, 0.8]) {
            assert!((predicted - target).abs() < 1e-3, "{predicted} {target}");
        }
    }

    fn fit(rows: &LabelledFeatures) -> LogisticRegression {
        let weights = rows.targets.ones_like().to_kind(Kind::Float);
        LogisticRegression::fit(rows, &weights, 3, 1e-5).unwrap()
    }

    #[test]
    fn separable_labels_are_learned() {
        let rows = clusters();
        assert_eq!(predict(&fit(&rows), &rows), Vec::<i64>::try_from(rows.targets).unwrap());
    }

    #[test]
    fn the_same_data_give_the_same_weights() {
        let rows = clusters();
        let (one, two) = (fit(&rows), fit(&rows));
        assert_eq!((one.weight, one.bias), (two.weight, two.bias));
    }

    #[test]
    fn a_heavier_row_wins_a_contradiction() {
        let rows = LabelledFeatures {
            kind: HeadKind::SingleLabel,
            features: Tensor::from_slice2(&[[1.0f32], [1.0]]),
            targets: Tensor::from_slice(&[0i64, 1]),
        };
        let linear = LogisticRegression::fit(&rows, &Tensor::from_slice(&[1.0f32, 3.0]), 2, 1e-5).unwrap();
        assert_eq!(predict(&linear, &rows), [1, 1]);
    }
}

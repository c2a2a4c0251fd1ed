//! The trained parameters, and their optimiser AdamW (<https://arxiv.org/abs/1711.05101>), whose state can be saved.

use anyhow::{Context, Result};
use tch::{Kind, Tensor};

/// Decay rates of the running means of the gradients and of their squares.
const BETAS: [f64; 2] = [0.9, 0.999];
/// Keeps steps finite where gradients are 0.
const EPSILON: f64 = 1e-8;

/// A trained tensor, in float32.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) value: Tensor,
    /// The sum of a step's gradients.
    gradient: Tensor,
    /// The running mean of the gradients.
    first: Tensor,
    /// The running mean of their squares.
    second: Tensor,
    learning_rate: f64,
    weight_decay: f64,
}

/// An index of [`Parameters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ParameterId(usize);

/// All trained parameters.
#[derive(Debug, Default)]
pub(super) struct Parameters(Vec<Parameter>);

impl Parameters {
    /// Adds a parameter, with its highest learning rate.
    pub(super) fn add(
        &mut self,
        name: String,
        value: Tensor,
        learning_rate: f64,
        weight_decay: f64,
    ) -> Result<ParameterId> {
        let zeros = || value.f_zeros_like();
        let (gradient, first, second) = (zeros()?, zeros()?, zeros()?);
        // Vectors are biases and scales, which weight decay must not pull to 0.
        let weight_decay = if value.dim() > 1 { weight_decay } else { 0.0 };
        self.0.push(Parameter { name, value, gradient, first, second, learning_rate, weight_decay });
        Ok(ParameterId(self.0.len() - 1))
    }

    pub(super) fn value(&self, id: ParameterId) -> Result<&Tensor> {
        Ok(&self.0.get(id.0).context("no such parameter")?.value)
    }

    /// The number of trained values.
    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|parameter| parameter.value.numel()).sum()
    }

    /// Adds to a gradient.
    pub(super) fn accumulate(&mut self, id: ParameterId, gradient: &Tensor) -> Result<()> {
        let parameter = self.0.get_mut(id.0).context("no such parameter")?;
        let _ = parameter.gradient.f_add_(gradient)?;
        Ok(())
    }

    /// Takes step `number`, from 1, of AdamW, at a fraction of the highest learning rate, with the gradient
    /// clipped to the length `clip`, and sets the gradients to 0. Call it without a gradient graph.
    pub(super) fn step(&mut self, number: usize, rate_fraction: f64, clip: f64) -> Result<()> {
        let squares: Vec<_> =
            self.0.iter().map(|it| Ok(it.gradient.f_square()?.f_sum(Kind::Float)?)).collect::<Result<_>>()?;
        let length = f64::try_from(Tensor::f_stack(&squares, 0)?.f_sum(Kind::Double)?)?.sqrt();
        let factor = if length > clip { clip / length } else { 1.0 };
        let [unbias_first, unbias_second] = BETAS.map(|beta| 1.0 - beta.powi(number as i32));
        for parameter in &mut self.0 {
            let gradient = parameter.gradient.f_mul_scalar(factor)?;
            let _ = parameter.first.f_lerp_(&gradient, 1.0 - BETAS[0])?;
            let _ = parameter.second.f_lerp_(&gradient.f_square()?, 1.0 - BETAS[1])?;
            let scale = parameter.second.f_div_scalar(unbias_second)?.f_sqrt()?.f_add_scalar(EPSILON)?;
            let rate = parameter.learning_rate * rate_fraction;
            let step = parameter.first.f_div(&scale)?.f_mul_scalar(rate / unbias_first)?;
            let _ = parameter.value.f_mul_scalar_(1.0 - rate * parameter.weight_decay)?;
            let _ = parameter.value.f_sub_(&step)?;
            let _ = parameter.gradient.f_zero_()?;
        }
        Ok(())
    }

    /// Copies of the values.
    pub(super) fn snapshot(&self) -> Result<Vec<Tensor>> {
        self.0.iter().map(|parameter| Ok(parameter.value.f_detach_copy()?)).collect()
    }

    /// Sets the values to those of a snapshot. Call it without a gradient graph.
    pub(super) fn restore(&mut self, snapshot: &[Tensor]) -> Result<()> {
        for (parameter, value) in self.0.iter_mut().zip(snapshot) {
            parameter.value.f_copy_(value)?;
        }
        Ok(())
    }

    /// All state but the gradients, and the snapshot `best`, by name, for a file.
    pub(super) fn state<'a>(&'a self, best: &'a [Tensor]) -> Vec<(String, &'a Tensor)> {
        let tensors = self.0.iter().zip(best);
        tensors
            .flat_map(|(parameter, best)| {
                let Parameter { name, value, first, second, .. } = parameter;
                [("value", value), ("first", first), ("second", second), ("best", best)]
                    .map(|(part, tensor)| (format!("{part}.{name}"), tensor))
            })
            .collect()
    }

    /// Loads the state, and returns the snapshot. Call it without a gradient graph.
    pub(super) fn load_state(&mut self, mut take: impl FnMut(&str) -> Result<Tensor>) -> Result<Vec<Tensor>> {
        let mut best = Vec::with_capacity(self.0.len());
        for Parameter { name, value, first, second, .. } in &mut self.0 {
            value.f_copy_(&take(&format!("value.{name}"))?)?;
            first.f_copy_(&take(&format!("first.{name}"))?)?;
            second.f_copy_(&take(&format!("second.{name}"))?)?;
            best.push(take(&format!("best.{name}"))?.f_to_device(value.device())?);
        }
        Ok(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_as_in_pytorch() {
        let mut parameters = Parameters::default();
        let value = Tensor::from_slice2(&[[1.0f32, -2.0]]);
        let id = parameters.add("x".into(), value, 0.1, 0.01).unwrap();
        for number in 1..=3 {
            let gradient = parameters.value(id).unwrap().square();
            parameters.accumulate(id, &gradient).unwrap();
            parameters.step(number, 1.0, f64::INFINITY).unwrap();
        }
        // torch.optim.AdamW([x], lr=0.1, weight_decay=0.01) with the gradient x², three steps.
        let values = Vec::<f32>::try_from(parameters.value(id).unwrap().view(-1)).unwrap();
        for (ours, theirs) in values.iter().zip(ADAMW) {
            assert!((ours - theirs).abs() < 1e-5, "{values:?}");
        }
    }

    const ADAMW: [f32; 2] = [0.7015198, -2.294_198];

    #[test]
    fn a_long_gradient_is_shortened() {
        let moved = |clip| {
            let mut parameters = Parameters::default();
            let id = parameters.add("x".into(), Tensor::from_slice(&[0.0f32, 0.0]), 1.0, 0.0).unwrap();
            parameters.accumulate(id, &Tensor::from_slice(&[3.0f32, 4.0])).unwrap();
            parameters.step(1, 1.0, clip).unwrap();
            Vec::<f32>::try_from(parameters.0[0].first.shallow_clone()).unwrap()
        };
        assert!((moved(1.0)[0] - 0.06).abs() < 1e-6 && (moved(10.0)[0] - 0.3).abs() < 1e-6);
    }
}

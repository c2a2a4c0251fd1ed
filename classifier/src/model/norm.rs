//! Layer normalisation.

use anyhow::Result;
use tch::Tensor;

use super::training::Part;
use super::weights::{Weight, Weights};

/// Brings each vector to mean 0 and variance 1, then scales and shifts it. Clones share the weights.
#[derive(Debug, Clone)]
pub(super) struct Norm {
    /// `[width]`
    weight: Weight,
    /// `[width]`
    bias: Option<Weight>,
    /// Added to the variance.
    eps: f64,
}

impl Norm {
    /// Takes `NAME.weight` and `NAME.bias`.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub(super) fn load(weights: &mut Weights, name: &str, width: i64, eps: f64) -> Result<Self> {
        let bias = format!("{name}.bias");
        let norm = Self {
            bias: Some(weights.take(&bias, &[width])?),
            ..Self::load_without_bias(weights, name, width, eps)?
        };
        if let Some(tensor) = &norm.bias {
            weights.made(vec![bias], Part::Vector, tensor)?;
        }
        Ok(norm)
    }

    /// Takes `NAME.weight` of a layer that has no bias.
    ///
    /// # Errors
    /// If the tensor is missing or has another shape.
    pub(super) fn load_without_bias(weights: &mut Weights, name: &str, width: i64, eps: f64) -> Result<Self> {
        let name = format!("{name}.weight");
        let weight = weights.take(&name, &[width])?;
        weights.made(vec![name], Part::Vector, &weight)?;
        Ok(Self { weight, bias: None, eps })
    }

    /// Normalises the last dimension.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(super) fn apply(&self, input: &Tensor) -> Result<Tensor> {
        let width = self.weight.size();
        Ok(input.f_layer_norm(width, Some(&*self.weight), self.bias.as_deref(), self.eps, true)?)
    }
}

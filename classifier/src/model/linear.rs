//! A linear layer: `input · weightᵀ + bias`.

use anyhow::Result;
use llm_router_torch_ops::{Activation, PackedLinear};
use tch::{Device, Tensor};

use super::training::{Dropout, Part};
use super::weights::{Weight, Weights};

/// A linear layer of an encoder. Clones share the weights.
#[derive(Debug, Clone)]
pub struct Linear(Layout);

/// How the weights lie in memory.
#[derive(Debug, Clone)]
enum Layout {
    /// In libtorch's order: `[outputs, inputs]` and `[outputs]`.
    Plain(Weight, Option<Weight>),
    /// In the order in which the processor reads them. Used on CPU, where reordering them at every call costs
    /// as much as the product of a short text.
    Packed(PackedLinear),
    /// In libtorch's order, for gradients. Dropout applies before a residual is added.
    Trained(Weight, Option<Weight>, Dropout),
}

impl Linear {
    /// Takes `NAME.weight` and `NAME.bias`.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn load(weights: &mut Weights, name: &str, outputs: i64, inputs: i64) -> Result<Self> {
        let weight = weights.take(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = weights.take(&format!("{name}.bias"), &[outputs])?;
        Self::new(weights, &[name.to_owned()], weight, Some(bias))
    }

    /// Takes `NAME.weight` of a layer that has no bias.
    ///
    /// # Errors
    /// If the tensor is missing or has another shape.
    pub fn load_without_bias(weights: &mut Weights, name: &str, outputs: i64, inputs: i64) -> Result<Self> {
        let weight = weights.take(&format!("{name}.weight"), &[outputs, inputs])?;
        Self::new(weights, &[name.to_owned()], weight, None)
    }

    /// Takes the layers `names`, with `outputs` outputs each, as one layer that returns their outputs side by
    /// side: one large product is faster than several small ones.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn load_stacked(weights: &mut Weights, names: &[String], outputs: i64, inputs: i64) -> Result<Self> {
        let (mut stacked, mut biases) = (Vec::new(), Vec::new());
        for name in names {
            stacked.push(weights.take(&format!("{name}.weight"), &[outputs, inputs])?);
            biases.push(weights.take(&format!("{name}.bias"), &[outputs])?);
        }
        let cat = |parts: &[Weight]| {
            anyhow::Ok(Weight::new(Tensor::f_cat(&parts.iter().map(|part| &**part).collect::<Vec<_>>(), 0)?))
        };
        Self::new(weights, names, cat(&stacked)?, Some(cat(&biases)?))
    }

    fn new(weights: &mut Weights, names: &[String], weight: Weight, bias: Option<Weight>) -> Result<Self> {
        if let Some(dropout) = weights.training().map(|training| training.dropout.clone()) {
            let tensors = |suffix| names.iter().map(|name| format!("{name}.{suffix}")).collect();
            weights.made(tensors("weight"), Part::Matrix, &weight)?;
            if let Some(bias) = &bias {
                weights.made(tensors("bias"), Part::Vector, bias)?;
            }
            return Ok(Self(Layout::Trained(weight, bias, dropout)));
        }
        Ok(Self(match weight.device() {
            Device::Cpu => Layout::Packed(PackedLinear::new(&weight, bias.map(Weight::into_inner))?),
            _ => Layout::Plain(weight, bias),
        }))
    }

    /// The layer's output for an input of any shape whose last dimension is the layer's inputs.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn apply(&self, input: &Tensor) -> Result<Tensor> {
        Ok(match &self.0 {
            Layout::Plain(weight, bias) | Layout::Trained(weight, bias, _) => {
                input.f_linear(weight, bias.as_deref())?
            }
            Layout::Packed(packed) => packed.apply(input, Activation::None)?,
        })
    }

    /// The layer's output through GELU.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn apply_gelu(&self, input: &Tensor) -> Result<Tensor> {
        Ok(match &self.0 {
            Layout::Plain(..) | Layout::Trained(..) => self.apply(input)?.f_gelu("none")?,
            Layout::Packed(packed) => packed.apply(input, Activation::Gelu)?,
        })
    }

    /// The layer's output plus a residual of its shape.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn apply_add(&self, input: &Tensor, residual: &Tensor) -> Result<Tensor> {
        Ok(match &self.0 {
            Layout::Plain(..) => self.apply(input)?.f_add(residual)?,
            Layout::Packed(packed) => packed.apply_add(input, residual)?,
            Layout::Trained(.., dropout) => dropout.apply(self.apply(input)?)?.f_add(residual)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn weights() -> (tempfile::TempDir, Weights) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        let tensors = [
            ("a.weight", Tensor::from_slice2(&[[1.0f32, 2.0]])),
            ("a.bias", Tensor::from_slice(&[0.5f32])),
            ("b.weight", Tensor::from_slice2(&[[0.0f32, -1.0]])),
            ("b.bias", Tensor::from_slice(&[0.0f32])),
        ];
        Tensor::write_safetensors(&tensors, &path).unwrap();
        (folder, Weights::load(&path, Device::Cpu).unwrap())
    }

    fn apply(linear: &Linear) -> Vec<f32> {
        linear.apply(&Tensor::from_slice(&[10.0f32, 1.0])).unwrap().try_into().unwrap()
    }

    #[test]
    fn computes_with_and_without_bias() {
        let (_folder, mut weights) = weights();
        assert_eq!(apply(&Linear::load(&mut weights, "a", 1, 2).unwrap()), [12.5]);
        assert_eq!(apply(&Linear::load_without_bias(&mut weights, "b", 1, 2).unwrap()), [-1.0]);
    }

    #[test]
    fn stacked_layers_return_their_outputs_side_by_side() {
        let (_folder, mut weights) = weights();
        let names = ["a", "b"].map(str::to_owned);
        assert_eq!(apply(&Linear::load_stacked(&mut weights, &names, 1, 2).unwrap()), [12.5, -1.0]);
    }
}

//! Parts of libtorch that `tch` does not bind: linear layers with weights packed for the CPU, CUDA graphs,
//! non-blocking copies, and the release of freed memory.
//!
//! libtorch's own `linear` reorders the weights for the processor at every call; here that is done once. GELU or the
//! addition of a residual is computed along with the product.
// The workspace's only unsafe code apart from loading CUDA: calls into C++.
#![allow(unsafe_code)]

pub mod cuda_graph;
mod ffi;

use tch::Tensor;

/// An error of libtorch.
#[derive(Debug, Clone, thiserror::Error)]
#[error("libtorch: {0}")]
pub struct OpError(String);

/// Copies into a tensor of the same shape. Between a GPU and pinned memory it only queues the copy on the GPU's current
/// stream; other copies are done when it returns.
///
/// # Safety
/// Until the stream is synchronised, only work that is queued later on the same stream may write to the memory of `from`,
/// or read or write the memory of `to`. Dropping the tensors is allowed: libtorch keeps their memory until the copy is
/// done.
///
/// # Errors
/// If the shapes differ.
pub unsafe fn copy_non_blocking(to: &Tensor, from: &Tensor) -> Result<(), OpError> {
    // SAFETY: both are valid for the call. The caller does not touch their memory while the copy is under way.
    ffi::check(unsafe { ffi::torch_ops_copy_non_blocking(ffi::handle(to), ffi::handle(from)) })
}

/// Gives the memory of freed tensors back to the system, where libtorch allocates with glibc, which keeps most of it.
pub fn release_free_memory() {
    ffi::torch_ops_release_free_memory();
}

/// What is applied to the output of a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// `x · Φ(x)`, exactly (not its tanh approximation).
    Gelu,
}

/// The weights of a linear layer, in the order in which this processor reads them. Cloning shares the memory.
#[derive(Debug)]
pub struct PackedLinear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Clone for PackedLinear {
    fn clone(&self) -> Self {
        Self { weight: self.weight.shallow_clone(), bias: self.bias.as_ref().map(Tensor::shallow_clone) }
    }
}

impl PackedLinear {
    /// Packs a weight `[outputs, inputs]`, float32 or bfloat16 on CPU. The bias is `[outputs]`, of the same kind.
    ///
    /// # Errors
    /// If the weight is not on the CPU, not a matrix, or of a kind that oneDNN does not pack.
    pub fn new(weight: &Tensor, bias: Option<Tensor>) -> Result<Self, OpError> {
        let packed = ffi::call(|out| unsafe { ffi::torch_ops_pack(ffi::handle(weight), out) })?;
        Ok(Self { weight: packed, bias })
    }

    /// `activation(input · weightᵀ + bias)`, for an input of any shape `[.., inputs]` of the weight's kind.
    ///
    /// # Errors
    /// If the input's kind, device or last dimension does not fit.
    pub fn apply(&self, input: &Tensor, activation: Activation) -> Result<Tensor, OpError> {
        let gelu = activation == Activation::Gelu;
        ffi::call(|out| unsafe {
            ffi::torch_ops_linear(ffi::handle(input), ffi::handle(&self.weight), self.bias(), gelu, out)
        })
    }

    /// `input · weightᵀ + bias + addend`; the addend has the output's shape and kind.
    ///
    /// # Errors
    /// If a kind, device or shape does not fit.
    pub fn apply_add(&self, input: &Tensor, addend: &Tensor) -> Result<Tensor, OpError> {
        let (input, addend) = (ffi::handle(input), ffi::handle(addend));
        ffi::call(|out| unsafe {
            ffi::torch_ops_linear_add(input, ffi::handle(&self.weight), self.bias(), addend, out)
        })
    }

    fn bias(&self) -> *const torch_sys::C_tensor {
        self.bias.as_ref().map_or(std::ptr::null(), ffi::handle)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn random(shape: &[i64], kind: Kind) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu)).to_kind(kind)
    }

    /// `tolerance` is a fraction of the largest value.
    fn assert_near(ours: &Tensor, expected: &Tensor, tolerance: f64) {
        assert_eq!(ours.size(), expected.size());
        let largest = |tensor: Tensor| tensor.abs().max().double_value(&[]);
        let (ours, expected) = (ours.to_kind(Kind::Float), expected.to_kind(Kind::Float));
        let difference = largest(ours - &expected) / largest(expected);
        assert!(difference <= tolerance, "differs by {difference} of the largest value");
    }

    #[test]
    fn a_copy_fills_a_tensor_of_the_same_shape() {
        let (to, from) =
            (Tensor::zeros([2, 3], (Kind::Int64, Device::Cpu)), Tensor::from_slice(&[1i64, 2, 3]));
        // SAFETY: on the CPU the copy is done when the function returns.
        let copy = |to: &Tensor, from: &Tensor| unsafe { copy_non_blocking(to, from) };
        copy(&to.select(0, 1), &from).unwrap();
        assert_eq!(Vec::<Vec<i64>>::try_from(&to).unwrap(), [[0, 0, 0], [1, 2, 3]]);
        assert!(copy(&to, &Tensor::from_slice(&[1i64, 2])).is_err());
    }

    #[test]
    fn packed_weights_compute_what_plain_ones_do() {
        for (kind, tolerance) in [(Kind::Float, 1e-5), (Kind::BFloat16, 0.02)] {
            for outputs in [48, 192, 256] {
                packed_computes_what_plain_does(kind, outputs, tolerance);
            }
        }
    }

    fn packed_computes_what_plain_does(kind: Kind, outputs: i64, tolerance: f64) {
        let (weight, bias) = (random(&[outputs, 16], kind), random(&[outputs], kind));
        let packed = PackedLinear::new(&weight, Some(bias.shallow_clone())).unwrap();
        for tokens in [1, 7, 64, 100] {
            let input = random(&[2, tokens, 16], kind);
            let plain = input.linear(&weight, Some(&bias));
            assert_near(&packed.apply(&input, Activation::None).unwrap(), &plain, tolerance);
            assert_near(&packed.apply(&input, Activation::Gelu).unwrap(), &plain.gelu("none"), tolerance);
            let addend = random(&[2, tokens, outputs], kind);
            let added = packed.apply_add(&input, &addend).unwrap();
            assert_near(&added, &(plain + &addend), tolerance);
        }
    }

    #[test]
    fn a_layer_may_have_no_bias() {
        for outputs in [4, 64] {
            let weight = random(&[outputs, 4], Kind::Float);
            let packed = PackedLinear::new(&weight, None).unwrap();
            let input = random(&[3, 4], Kind::Float);
            let plain = input.linear::<Tensor>(&weight, None);
            assert_near(&packed.apply(&input, Activation::None).unwrap(), &plain, 1e-5);
        }
    }

    #[test]
    fn a_bias_that_does_not_fit_is_an_error() {
        for (kind, outputs) in
            [(Kind::Float, 4), (Kind::Float, 64), (Kind::BFloat16, 4), (Kind::BFloat16, 128)]
        {
            let weight = random(&[outputs, 4], kind);
            let (input, addend) = (random(&[3, 4], kind), random(&[3, outputs], kind));
            let shapes: [&[i64]; 5] =
                [&[1], &[outputs - 1], &[outputs + 1], &[1, 1, outputs], &[2, 1, outputs]];
            let biases = shapes.iter().map(|shape| random(shape, kind));
            let other_kind = if kind == Kind::Float { Kind::BFloat16 } else { Kind::Float };
            for bias in biases.chain([random(&[outputs], other_kind), random(&[outputs], Kind::Double)]) {
                let wrong = format!("{kind:?} {outputs} {bias:?}");
                let packed = PackedLinear::new(&weight, Some(bias)).unwrap();
                assert!(packed.apply(&input, Activation::None).is_err(), "{wrong}");
                assert!(packed.apply_add(&input, &addend).is_err(), "{wrong}");
            }
        }
    }

    #[test]
    fn what_libtorch_rejects_is_an_error() {
        for (kind, outputs) in
            [(Kind::Float, 4), (Kind::Float, 64), (Kind::BFloat16, 4), (Kind::BFloat16, 128)]
        {
            let packed = PackedLinear::new(&random(&[outputs, 4], kind), None).unwrap();
            assert!(packed.apply(&random(&[3, 5], kind), Activation::None).is_err());
            let input = random(&[3, 4], kind);
            assert!(packed.apply_add(&input, &random(&[3, 5], kind)).is_err());
            assert!(packed.apply_add(&input, &random(&[3, outputs], Kind::Double)).is_err());
        }
        assert!(PackedLinear::new(&Tensor::from_slice(&[1.0f32]), None).is_err());
    }
}

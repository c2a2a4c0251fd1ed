//! The parts of an encoder in training: plain tensors that gradients reach, instead of weights packed for the processor,
//! and dropout.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use tch::Tensor;

/// Sets random numbers to zero while it is on. Clones share the switch.
#[derive(Debug, Clone)]
pub struct Dropout {
    fraction: f64,
    on: Arc<AtomicBool>,
}

impl Dropout {
    /// Zeroes this fraction of the numbers, once it is switched on.
    #[must_use]
    pub fn new(fraction: f64) -> Self {
        Self { fraction, on: Arc::default() }
    }

    /// Switches it on for training, or off for evaluation.
    pub fn switch(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// The tensor, with a random fraction of its numbers set to zero and the others scaled so that the mean stays. In token
    /// vectors `[texts, tokens, width]` the same numbers are zero for all tokens of a text, because drawing random numbers
    /// takes time on the CPU.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn apply(&self, tensor: Tensor) -> Result<Tensor> {
        if self.fraction == 0.0 || !self.on.load(Ordering::Relaxed) {
            return Ok(tensor);
        }
        let shape = match *tensor.size() {
            [texts, _, width] => vec![texts, 1, width],
            ref shape => shape.to_vec(),
        };
        let left = Tensor::f_ones(shape, (tensor.kind(), tensor.device()))?.f_dropout(self.fraction, true)?;
        Ok(tensor.f_mul(&left)?)
    }
}

/// Which part of a layer a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The matrix of a linear layer, `[outputs, inputs]`.
    Matrix,
    /// A bias, or the weight of a normalisation.
    Vector,
}

/// A tensor that the encoder computes with, in the precision it computes in.
#[derive(Debug)]
pub struct TrainableTensor {
    /// The checkpoint's tensors that it consists of, stacked along the first dimension, in equal parts.
    pub names: Vec<String>,
    /// Its part of the layer.
    pub part: Part,
    /// Shares its memory and its gradient with the encoder.
    pub tensor: Tensor,
    /// The same numbers in float32, not shared.
    pub master: Tensor,
}

/// Collects the trainable tensors of an encoder while it is loaded.
#[derive(Debug)]
pub struct Training {
    /// The encoder's dropout.
    pub dropout: Dropout,
    /// The tensors that can be trained.
    pub tensors: Vec<TrainableTensor>,
    masters: HashMap<String, Tensor>,
}

impl Training {
    /// An empty collection.
    #[must_use]
    pub fn new(dropout: Dropout) -> Self {
        Self { dropout, tensors: Vec::new(), masters: HashMap::new() }
    }

    /// Keeps a tensor's float32 numbers until the encoder's tensor is added.
    pub(super) fn keep(&mut self, name: &str, master: &Tensor) {
        if !is_embedding(name) {
            self.masters.insert(name.to_owned(), master.shallow_clone());
        }
    }

    /// Adds the encoder's tensor that consists of these checkpoint tensors.
    pub(super) fn add(&mut self, names: Vec<String>, part: Part, tensor: &Tensor) -> Result<()> {
        if names.iter().any(|name| is_embedding(name)) {
            return Ok(());
        }
        let masters: Vec<_> = names.iter().filter_map(|name| self.masters.remove(name)).collect();
        let master =
            Tensor::f_cat(&masters, 0).with_context(|| format!("no float32 numbers of {names:?}"))?;
        self.tensors.push(TrainableTensor { names, part, tensor: tensor.shallow_clone(), master });
        Ok(())
    }
}

/// Embeddings are never trained: a training set would move few of their rows, and leave the others behind.
fn is_embedding(name: &str) -> bool {
    name.contains("embeddings")
}

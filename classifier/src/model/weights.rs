//! The tensors of a safetensors file, taken out by name with their shapes checked.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tch::{Device, Kind, Tensor};

use super::safetensors_file;
use super::training::{Part, Training};
use crate::device::{Compute, Precision};

/// A tensor of the model. Clones share the memory, so that every worker can own the whole model.
#[derive(Debug)]
pub struct Weight(Tensor);

impl Weight {
    /// Wraps a tensor that nobody will write to.
    #[must_use]
    pub fn new(tensor: Tensor) -> Self {
        Self(tensor)
    }

    /// The tensor itself, for callers that keep it.
    pub(super) fn into_inner(self) -> Tensor {
        self.0
    }
}

impl Clone for Weight {
    fn clone(&self) -> Self {
        Self(self.0.shallow_clone())
    }
}

impl std::ops::Deref for Weight {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.0
    }
}

/// The tensors of a safetensors file that were not taken yet.
pub struct Weights {
    path: PathBuf,
    compute: Compute,
    tensors: HashMap<String, Tensor>,
    /// Collects the trainable tensors, if the encoder is to be trained.
    training: Option<Training>,
}

/// The prefixes of the encoder's tensors in checkpoints of a whole `BertFor...`.
const PREFIXES: [&str; 5] = ["bert.", "roberta.", "deberta.", "backbone.", "model."];

/// A tensor's name without such a prefix.
pub fn without_prefix(name: &str) -> &str {
    PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name)
}

impl Weights {
    /// Reads the file. Tensors are moved to the device and converted to the precision of `compute` when they
    /// are taken.
    ///
    /// # Errors
    /// If the file is missing or is not safetensors; the error names it.
    pub fn load(path: &Path, compute: impl Into<Compute>) -> Result<Self> {
        ensure!(path.is_file(), "cannot read {}: no such file", path.display());
        Ok(Self {
            path: path.to_owned(),
            compute: compute.into(),
            tensors: safetensors_file::read(path)?.into_iter().collect(),
            training: None,
        })
    }

    /// Layers are loaded for training from now on, and their trainable tensors are collected.
    #[must_use]
    pub fn for_training(mut self, training: Training) -> Self {
        self.training = Some(training);
        self
    }

    /// The collected tensors.
    pub(super) fn into_training(self) -> Option<Training> {
        self.training
    }

    /// The collection for training, if layers are to be trained.
    pub(super) fn training(&self) -> Option<&Training> {
        self.training.as_ref()
    }

    /// Records for training, if layers are to be trained, the tensor that a layer made of checkpoint tensors.
    pub(super) fn made(&mut self, names: Vec<String>, part: Part, tensor: &Weight) -> Result<()> {
        self.training.as_mut().map_or(Ok(()), |training| training.add(names, part, tensor))
    }

    /// The tensor whose name, without a prefix, is this, unchanged from the file.
    pub(super) fn named(&mut self, name: &str) -> Option<&mut Tensor> {
        self.tensors.iter_mut().find(|(key, _)| without_prefix(key) == name).map(|(_, tensor)| tensor)
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// From now on, tensors are taken in fp32, in which heads compute.
    #[must_use]
    pub fn in_fp32(mut self) -> Self {
        self.compute.precision = Precision::Fp32;
        self
    }

    /// The device of taken tensors.
    #[must_use]
    pub fn device(&self) -> Device {
        self.compute.device
    }

    /// The device and precision of taken tensors.
    #[must_use]
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// Takes prefixes off the tensors' names: checkpoints of a whole `BertFor...` prefix the encoder's with "bert.".
    pub fn strip_prefixes(&mut self) {
        let strip = |name: String| without_prefix(&name).to_owned();
        self.tensors = self.tensors.drain().map(|(name, tensor)| (strip(name), tensor)).collect();
    }

    /// Takes a lookup table of rows. 16-bit numbers keep their type, because a vocabulary of many languages
    /// would fill the memory. The caller converts the rows that it looks up.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_table(&mut self, name: &str, shape: &[i64]) -> Result<Weight> {
        let is_short = |tensor: &Tensor| matches!(tensor.kind(), Kind::Half | Kind::BFloat16);
        if self.training.is_some() || !self.tensors.get(name).is_some_and(is_short) {
            return self.take(name, shape);
        }
        Ok(Weight(self.remove(name, shape)?.f_to_device(self.compute.device)?))
    }

    /// Takes a tensor out, converted to the precision and moved to the device.
    ///
    /// # Errors
    /// If it is missing or has another shape; the error names file, tensor and shapes.
    pub fn take(&mut self, name: &str, shape: &[i64]) -> Result<Weight> {
        let tensor = self.remove(name, shape)?;
        let Compute { device, precision } = self.compute;
        let Some(training) = &mut self.training else {
            return Ok(Weight(tensor.f_to_kind(precision.kind())?.f_to_device(device)?));
        };
        let master = tensor.f_to_kind(Kind::Float)?.f_to_device(device)?;
        training.keep(name, &master);
        Ok(Weight(master.f_to_kind(precision.kind())?.f_detach_copy()?))
    }

    /// Takes a tensor out, unchanged from the file.
    fn remove(&mut self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let tensor = self
            .tensors
            .remove(name)
            .with_context(|| format!("{}: no tensor {name:?}", self.path.display()))?;
        ensure!(
            tensor.size() == shape,
            "{}: tensor {name:?} has shape {:?}, expected {shape:?}",
            self.path.display(),
            tensor.size()
        );
        Ok(tensor)
    }
}

//! The encoder of a model's folder, with the heads that its own checkpoint has.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::adapter::{self, Adapter};
use super::encoder::{Config, Encoder};
use super::folder::ModelFolder;
use super::heads::Head;
use super::nvidia;
use super::training::{Dropout, Training};
use super::weights::Weights;
use crate::device::Compute;

/// What `config.json` and `model.safetensors` or `model.pt` hold.
pub(super) struct Checkpoint {
    config: Config,
    pub(super) encoder: Encoder,
    /// Tensors that are not the encoder's; none of TorchScript.
    rest: Option<Weights>,
}

impl Checkpoint {
    /// Reads the files; `model.pt` only if there is no `model.safetensors`.
    ///
    /// # Errors
    /// If a file is missing or unfit, or the config asks for what is not implemented; the error names it.
    pub(super) fn load(folder: &Path, compute: impl Into<Compute>) -> Result<Self> {
        let compute = compute.into();
        let folder = ModelFolder::open(folder)?;
        let config = nvidia::complete(Config::load(&folder.file("config.json"))?);
        let (safetensors, script) =
            (folder.weights().join("model.safetensors"), folder.weights().join("model.pt"));
        if script.is_file() && !safetensors.is_file() {
            ensure!(
                adapter::base(folder.path())?.is_none(),
                "{}: an adapter cannot change TorchScript",
                folder.path().display()
            );
            let encoder = Encoder::script(&config, &script, compute.device)?;
            return Ok(Self { config, encoder, rest: None });
        }
        let mut weights = Weights::load(&safetensors, compute)?;
        if let Some(adapter) = Adapter::load(folder.path())? {
            adapter.merge_into(&mut weights)?;
        }
        let encoder = Encoder::from_weights(&config, &mut weights)?;
        Ok(Self { config, encoder, rest: Some(weights.in_fp32()) })
    }

    /// Reads the encoder as it was before any adapter, made so that it can be trained.
    ///
    /// # Errors
    /// As [`Checkpoint::load`], and if it is TorchScript.
    pub(super) fn load_for_training(
        folder: &Path,
        compute: Compute,
        dropout: Dropout,
    ) -> Result<(Encoder, Training)> {
        let folder = ModelFolder::open(folder)?;
        let config = nvidia::complete(Config::load(&folder.file("config.json"))?);
        let path = folder.weights().join("model.safetensors");
        ensure!(
            path.is_file() || !folder.weights().join("model.pt").is_file(),
            "{}: TorchScript's weights cannot be trained; train heads on it with --method head",
            folder.path().display()
        );
        let mut weights = Weights::load(&path, compute)?.for_training(Training::new(dropout));
        let encoder = Encoder::from_weights(&config, &mut weights)?;
        let training = weights.into_training().context("nothing was collected")?;
        Ok((encoder, training))
    }

    /// The encoder and the checkpoint's own heads, which are NVIDIA's; others come from `heads/`.
    ///
    /// # Errors
    /// If a head's tensor or setting is unfit; the error names it.
    pub(super) fn with_heads(self) -> Result<(Encoder, Vec<Head>)> {
        let heads = match self.rest {
            Some(mut rest) => nvidia::heads(&self.config, &mut rest, &self.encoder)?,
            None => Vec::new(),
        };
        Ok((self.encoder, heads))
    }
}

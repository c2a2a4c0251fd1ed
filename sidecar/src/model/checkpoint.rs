//! The encoder of a model's folder, with the heads that its own checkpoint has.

use std::path::Path;

use anyhow::Result;

use super::encoder::{Config, Encoder};
use super::heads::Head;
use super::nvidia;
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
        let config = nvidia::complete(Config::load(folder)?);
        let (safetensors, script) = (folder.join("model.safetensors"), folder.join("model.pt"));
        if script.is_file() && !safetensors.is_file() {
            let encoder = Encoder::script(&config, &script, compute.device)?;
            return Ok(Self { config, encoder, rest: None });
        }
        let mut weights = Weights::load(&safetensors, compute)?;
        let encoder = Encoder::from_weights(&config, &mut weights)?;
        Ok(Self { config, encoder, rest: Some(weights.in_fp32()) })
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

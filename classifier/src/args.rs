//! Command-line options of the model and the engine.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use crate::device::{self, Compute, DeviceChoice, PrecisionChoice};

/// Which model, and where it runs.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// Folder with config.json, model.safetensors, tokenizer.json and heads/.
    #[arg(long, env = "LLM_ROUTER_MODEL", default_value = "models/minilm")]
    pub model: PathBuf,
    /// Where the model runs.
    #[arg(long, env = "LLM_ROUTER_DEVICE", value_enum, default_value = "auto")]
    pub device: DeviceChoice,
}

/// How precisely the model computes.
#[derive(Debug, Clone, Args)]
pub struct PrecisionArgs {
    /// How precisely the encoder computes.
    #[arg(long, env = "LLM_ROUTER_PRECISION", value_enum, default_value = "auto")]
    pub precision: PrecisionChoice,
}

/// Which model, and how its engine runs.
#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) precision: PrecisionArgs,
    /// Prompts that may wait; more are refused at once.
    #[arg(long, env = "LLM_ROUTER_QUEUE", default_value_t = 256)]
    pub(crate) queue: usize,
    /// Prompts classified at the same time, one thread each. Default: as many as there are cores; 1 on CUDA.
    #[arg(long, env = "LLM_ROUTER_WORKERS")]
    pub(crate) workers: Option<NonZeroUsize>,
    /// Tokens that one forward pass may have, padding included; prompts of about one length share it. Default: 16384 on
    /// CUDA; on CPU each prompt has a pass of its own, since sharing one is no faster there.
    #[arg(long, env = "LLM_ROUTER_BATCH_TOKENS", value_name = "TOKENS")]
    pub(crate) batch_tokens: Option<NonZeroUsize>,
}

impl EngineArgs {
    /// The model's folder.
    #[must_use]
    pub fn model(&self) -> &Path {
        &self.model.model
    }

    /// Where and how precisely the model computes.
    ///
    /// # Errors
    /// If there is no such device, or it does not compute in that precision.
    pub fn compute(&self) -> Result<Compute> {
        let device = device::select(self.model.device)?;
        Ok(Compute { device, precision: self.precision.precision.on(device)? })
    }

    /// Prompts that may wait.
    #[must_use]
    pub fn queue(&self) -> usize {
        self.queue
    }
}

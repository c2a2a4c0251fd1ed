//! Command-line options of the model and the engine, and what options of several programs have in common.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::device::{self, Compute, DeviceChoice, PrecisionChoice};

/// Which model, and where it runs.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// Folder with config.json, model.safetensors, tokenizer.json and heads/.
    #[arg(long, env = "LLM_ROUTER_MODEL", default_value = "models/e5")]
    pub model: PathBuf,
    /// Where the model runs.
    #[arg(long, env = "LLM_ROUTER_DEVICE", value_enum, default_value = "auto")]
    pub device: DeviceChoice,
}

/// The numeric precision of the model.
#[derive(Debug, Clone, Args)]
pub struct PrecisionArgs {
    /// Numeric precision of the encoder.
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
    /// Maximum number of prompts in the queue; further prompts are rejected at once.
    #[arg(long, env = "LLM_ROUTER_QUEUE", default_value_t = 256)]
    pub(crate) queue: usize,
    /// Number of prompts classified at the same time, one thread each. Default: the number of cores; 1 on CUDA.
    #[arg(long, env = "LLM_ROUTER_WORKERS")]
    pub(crate) workers: Option<NonZeroUsize>,
    /// Maximum number of tokens in a forward pass, padding included. Prompts of similar length share a pass. Default: 16384
    /// on CUDA; on CPU each prompt has its own pass, because batching is no faster there.
    #[arg(long, env = "LLM_ROUTER_BATCH_TOKENS", value_name = "TOKENS")]
    pub(crate) batch_tokens: Option<NonZeroUsize>,
}

impl EngineArgs {
    /// The model's folder.
    #[must_use]
    pub fn model(&self) -> &Path {
        &self.model.model
    }

    /// The device and precision of the model.
    ///
    /// # Errors
    /// If the device does not exist, or does not support the precision.
    pub fn compute(&self) -> Result<Compute> {
        let device = device::select(self.model.device)?;
        Ok(Compute { device, precision: self.precision.precision.on(device)? })
    }

    /// Maximum number of prompts in the queue.
    #[must_use]
    pub fn queue(&self) -> usize {
        self.queue
    }
}

/// Parses the value of a command-line option that is a duration: `5s`, `200ms`, `1m30s`. A bare number is in seconds.
///
/// # Errors
/// If the text is not a duration.
pub fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    }
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// Whether a text that should name an environment variable may be a key, which messages must not repeat: names are usually in capital
/// letters.
#[must_use]
pub fn may_be_key(variable: &str) -> bool {
    variable.chars().any(|c| c.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_units_or_is_in_seconds() {
        for (text, milliseconds) in [
            ("5", 5_000),
            ("0.2", 200),
            ("0", 0),
            ("5s", 5_000),
            ("200ms", 200),
            ("0.5h", 1_800_000),
            ("1m30s", 90_000),
            ("1h 2min", 3_720_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn an_invalid_duration_is_rejected() {
        for text in ["", "-1", "-1s", "nan", "inf", "1e30", "5 apples", "s", "1,5s", "99999999999999999999h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(duration("5 apples").unwrap_err().contains("unknown time unit"));
    }
}

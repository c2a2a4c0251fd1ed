//! The command line: one file a command.

pub mod bench;
pub mod calibrate;
pub mod check;
pub mod classify;
pub mod config_file;
pub mod eval;
pub mod health;
pub mod import_nvidia;
pub mod rows;
pub mod schema;
pub mod train;
pub mod two_models;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use crate::device::{DeviceChoice, PrecisionChoice};
use crate::serve::ServeArgs;
use crate::telemetry::logs::LogFormat;

/// Classifies prompts for the LLM router, behind Envoy's external-processing API.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// How log lines are written, to standard error. `RUST_LOG` filters them.
    #[arg(long, env = "LLM_ROUTER_LOG_FORMAT", value_enum, default_value = "text", global = true)]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve Envoy and our filter.
    Serve(Box<ServeArgs>),
    /// Ask a running sidecar whether it is ready; fails if not.
    Health(health::HealthArgs),
    /// Classify prompts given as arguments, or those of a file.
    Classify(Box<classify::ClassifyArgs>),
    /// Load the classifier, here or behind gRPC, and print how fast it answers.
    Bench(Box<bench::BenchArgs>),
    /// Train a head on labelled prompts.
    Train(Box<train::TrainArgs>),
    /// Measure a head, or example routes, on labelled prompts.
    Eval(Box<eval::EvalArgs>),
    /// Find a threshold to route by, or a head's temperature.
    #[command(subcommand)]
    Calibrate(calibrate::CalibrateCommand),
    /// Validate routing policies, alone or in Envoy bootstraps and Kubernetes manifests, and print who goes where.
    Check(check::CheckArgs),
    /// Make a policy and Envoy clusters of the configuration of NVIDIA's LLM Router blueprint v1.
    ImportNvidia(import_nvidia::ImportArgs),
    /// Print the JSON schema of routing policies.
    Schema,
}

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

/// Seconds, with or without a fraction, as an option has them.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Cores that this process may use, at least one.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// This command as a shell would take it, with the program's name instead of where it was built.
pub(crate) fn command_line() -> Result<String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words = std::iter::once("llm-router-sidecar").chain(arguments.iter().map(String::as_str));
    shlex::try_join(words).context("an argument has a NUL character")
}

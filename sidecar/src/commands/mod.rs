//! The command line, with one file per command.

pub mod bench;
pub mod classify;
pub mod config_file;
pub mod health;

use clap::{Parser, Subcommand};

use crate::serve::ServeArgs;
use crate::telemetry::logs::LogFormat;

/// Classifies prompts for the LLM router, behind Envoy's external-processing API.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// Format of the log lines on standard error. `RUST_LOG` filters them.
    #[arg(long, env = "LLM_ROUTER_LOG_FORMAT", value_enum, default_value = "text", global = true)]
    pub log_format: LogFormat,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the Wasm filter and Envoy's own ext_proc filter.
    Serve(Box<ServeArgs>),
    /// Check whether a running sidecar is ready; fails if not.
    Health(health::HealthArgs),
    /// Classify prompts from the arguments or from a file.
    Classify(Box<classify::ClassifyArgs>),
    /// Measure the classifier under load, in this process or over gRPC; or a gateway, over HTTP.
    Bench(Box<bench::BenchArgs>),
}

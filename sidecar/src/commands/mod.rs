//! The command line: one file per command.

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
}

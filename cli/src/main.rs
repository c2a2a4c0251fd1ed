//! The `llm-router` command: validates, explains and converts routing policies.
//!
//! One file per command. It links neither libtorch nor tokio, so it fits CI jobs and admission hooks.

mod check;
mod explain;
mod import_nvidia;
mod lint;
mod nvidia;
mod policy_file;
mod schema;
mod table;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Validates, explains and converts routing policies.
#[derive(Debug, Parser)]
#[command(name = "llm-router", version, about)]
struct Cli {
    /// The command.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Validate policies in policy files, Envoy bootstraps and Kubernetes manifests, and print the routing table.
    Check(check::CheckArgs),
    /// Print the model that a request would be routed to, and every step of the decision.
    Explain(explain::ExplainArgs),
    /// Convert the configuration of NVIDIA's LLM Router blueprint v1 to a policy and Envoy clusters.
    ImportNvidia(import_nvidia::ImportArgs),
    /// Print the JSON Schema of routing policies.
    Schema,
}

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that anyhow's own report may add: these are errors of the user's input.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<()> {
    match command {
        Command::Check(args) => check::run(args),
        Command::Explain(args) => explain::run(args),
        Command::ImportNvidia(args) => import_nvidia::run(args),
        Command::Schema => schema::run(),
    }
}

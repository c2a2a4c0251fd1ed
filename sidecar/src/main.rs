//! The `llm-router-sidecar` command.

use anyhow::Result;
use clap::Parser;
use llm_router_sidecar::commands::{Cli, Command, classify, serve, train};
use llm_router_sidecar::telemetry::logs;

fn main() -> Result<()> {
    let cli = Cli::parse();
    logs::init(cli.log_format);
    match cli.command {
        Command::Serve(args) => tokio::runtime::Runtime::new()?.block_on(serve::run(args)),
        Command::Classify(args) => classify::run(&args),
        Command::Train(args) => train::run(&args),
    }
}

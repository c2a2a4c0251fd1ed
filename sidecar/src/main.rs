//! The `llm-router-sidecar` command.

use anyhow::Result;
use clap::Parser;
use llm_router_sidecar::commands::{Cli, Command, check, classify, import_nvidia, schema, serve, train};
use llm_router_sidecar::telemetry::logs;

fn main() -> Result<()> {
    let cli = Cli::parse();
    logs::init(cli.log_format);
    match cli.command {
        Command::Serve(args) => tokio::runtime::Runtime::new()?.block_on(serve::run(args)),
        Command::Classify(args) => classify::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Check(args) => check::run(&args),
        Command::ImportNvidia(args) => import_nvidia::run(&args),
        Command::Schema => schema::run(),
    }
}

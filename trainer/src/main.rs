//! The `llm-router-train` command.

use anyhow::Result;
use clap::Parser;
use llm_router_trainer::commands::{Cli, Command, calibrate, eval, grade, train, win_rate};

/// Returns memory to the system after large batches; glibc's allocator keeps it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let cli = Cli::parse();
    init_logs();
    match cli.command {
        Command::Train(args) => train::run(&args),
        Command::Eval(args) => tokio::runtime::Runtime::new()?.block_on(eval::run(&args)),
        Command::Calibrate(command) => tokio::runtime::Runtime::new()?.block_on(calibrate::run(&command)),
        Command::Grade(args) => tokio::runtime::Runtime::new()?.block_on(grade::run(&args)),
        Command::WinRate(args) => tokio::runtime::Runtime::new()?.block_on(win_rate::run(&args)),
    }
}

/// Sends logs to standard error, filtered by `RUST_LOG` (`info` if it is not set).
fn init_logs() {
    use std::io::IsTerminal;

    use tracing_subscriber::EnvFilter;

    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

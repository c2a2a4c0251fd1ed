//! The `llm-router-sidecar` command.

use anyhow::Result;
use llm_router_sidecar::commands::{Command, bench, classify, config_file, health};
use llm_router_sidecar::serve;
use llm_router_sidecar::telemetry::logs;

/// Returns memory to the system after a burst of streams, which glibc's allocator keeps (measured in docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let cli = config_file::parse()?;
    let _logs = logs::init(cli.log_format)?;
    match cli.command {
        Command::Serve(args) => tokio::runtime::Runtime::new()?.block_on(serve::run(*args)),
        Command::Bench(args) => tokio::runtime::Runtime::new()?.block_on(bench::run(&args)),
        Command::Health(args) => health::run(&args),
        Command::Classify(args) => classify::run(&args),
    }
}

//! The `llm-router-sidecar` command.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Result;
use llm_router_sidecar::commands::{Command, bench, classify, config_file, health};
use llm_router_sidecar::serve;
use llm_router_sidecar::telemetry::logs;

/// After a burst of streams, returns memory to the system, unlike glibc's allocator (measured in
/// docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the process waits for its threads at the end. Some may never end: a read of a network volume, or of a pipe.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let cli = config_file::parse()?;
    let logs = logs::init(cli.log_format)?;
    match cli.command {
        Command::Serve(args) => {
            let result = run(serve::run(*args));
            if let Err(error) = &result {
                // The reader may be gone.
                let _ = writeln!(io::stderr(), "Error: {error:?}");
            }
            drop(logs);
            exit(i32::from(result.is_err()))
        }
        Command::Bench(args) => run(bench::run(&args)),
        Command::Health(args) => health::run(&args),
        Command::Classify(args) => classify::run(&args),
    }
}

/// Runs a command to its end, but does not wait for threads that are blocked.
fn run(command: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(command);
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    result
}

/// Ends the process at once, with this status. The usual end destroys libtorch's data, which crashes threads that still load or warm a model.
#[allow(unsafe_code)]
fn exit(status: i32) -> ! {
    // SAFETY: it only ends the process. The logs are written, and nothing else is buffered.
    unsafe { libc::_exit(status) }
}

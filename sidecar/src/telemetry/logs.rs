//! Structured logs on standard error.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use super::log_writer::LogWriter;
pub use super::log_writer::WrittenLogs;

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for humans.
    Text,
    /// One JSON object per line.
    Json,
}

/// Writes the process's logs to standard error, filtered by `RUST_LOG` (default `info`). When the returned
/// value is dropped, it waits up to a second for the last lines.
///
/// # Errors
/// If the thread that writes cannot be started.
pub fn init(format: LogFormat) -> io::Result<WrittenLogs> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let (writer, written) = LogWriter::start(io::stderr())?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // An error about a line that cannot be written would go to the same place, which would panic.
        .log_internal_errors(false)
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(written)
}

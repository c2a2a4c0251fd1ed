//! Structured logs on standard error.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

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
    let filter = without_prompts(filter)?;
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

/// The crate `tokenizers` logs every letter of a prompt at the level `trace`, which `RUST_LOG=trace` would turn on.
fn without_prompts(filter: EnvFilter) -> io::Result<EnvFilter> {
    let directive = "tokenizers=warn".parse::<Directive>().map_err(io::Error::other)?;
    Ok(filter.add_directive(directive))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn no_level_logs_the_letters_of_prompts() {
        for set in ["trace", "info,tokenizers=trace"] {
            let filter = without_prompts(EnvFilter::new(set)).unwrap();
            let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::sink).finish();
            tracing::subscriber::with_default(logs, || {
                assert!(
                    !tracing::enabled!(target: "tokenizers::tokenizer::normalizer", Level::TRACE),
                    "{set}"
                );
                assert!(tracing::enabled!(target: "tokenizers::tokenizer::normalizer", Level::WARN), "{set}");
            });
        }
    }
}

//! Why a text has no prediction, for callers and for the log.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::log_limiter::LogLimiter;

/// Why a text has no prediction. The messages are fit for callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// Too many prompts are waiting.
    #[error("too many prompts are waiting to be classified")]
    Overloaded,
    /// The engine is shut down, or shutting down.
    #[error("the classifier is shutting down")]
    ShuttingDown,
    /// The caller's deadline passed while the text waited.
    #[error("the deadline passed before the prompt could be classified")]
    DeadlineExceeded,
    /// All threads that could classify the text have died.
    #[error("the classifier's workers are not running")]
    NoWorkers,
    /// The tokenizer or the backend failed; a backend fails for all texts of a batch alike.
    #[error("classification failed")]
    Failed(#[source] FailureCause),
}

/// The cause, with libtorch's C++ backtrace if it has one: for logs and command-line tools, never for callers.
#[derive(Debug, Clone)]
pub struct FailureCause(Arc<anyhow::Error>);

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl Error for FailureCause {}

/// Logs the causes of failures, rate-limited: a broken backend fails for every text.
#[derive(Debug, Default)]
pub(super) struct FailureLog(LogLimiter);

impl FailureLog {
    /// Logs the cause and returns the error for the callers.
    pub(super) fn record(&self, cause: anyhow::Error) -> EngineError {
        let cause = FailureCause(Arc::new(cause));
        if let Some(suppressed) = self.0.admit(Instant::now()) {
            tracing::error!(%cause, suppressed, "classification failed");
        }
        EngineError::Failed(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_for_logs_and_tools_only() {
        let cause = anyhow::anyhow!("shapes differ\nException raised from infer_size at ExpandUtils.cpp");
        let error = FailureLog::default().record(cause.context("layer 3"));
        assert_eq!(error.to_string(), "classification failed");
        let all = format!("{:#}", anyhow::Error::from(error));
        assert!(all.starts_with("classification failed: layer 3: shapes differ\nException"), "{all}");
    }
}

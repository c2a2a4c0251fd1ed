//! Why requests fail, by kind.

use std::fmt;

use serde::{Serialize, Serializer};

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Not sent, because as many requests as allowed were still without a response.
    Dropped,
    /// No connection: refused, unreachable, an unknown host, or a failed TLS handshake.
    Connect,
    /// No whole response by the deadline.
    Timeout,
    /// A status outside 200 to 299.
    Status(u16),
    /// The connection ended before the response was whole, or a stream ended without `[DONE]`.
    BrokenOff,
    /// A successful status with a body that is not a chat completion: invalid JSON, no `choices`, or an error event.
    NotACompletion,
    /// A body, or an event of a stream, that is longer than any completion.
    TooLarge,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped => f.write_str("dropped"),
            Self::Connect => f.write_str("connect"),
            Self::Timeout => f.write_str("timeout"),
            Self::Status(code) => write!(f, "status_{code}"),
            Self::BrokenOff => f.write_str("broken_off"),
            Self::NotACompletion => f.write_str("not_a_completion"),
            Self::TooLarge => f.write_str("too_large"),
        }
    }
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A failure with what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The kind.
    pub failure: Failure,
    /// What happened, in one line without secrets.
    pub detail: String,
}

impl Problem {
    /// A failure and what happened.
    pub(super) fn new(failure: Failure, detail: impl Into<String>) -> Self {
        Self { failure, detail: detail.into() }
    }
}

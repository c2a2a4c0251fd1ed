//! What is recorded of each request.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use llm_router_routing::headers;
use reqwest::header::HeaderMap;
use serde::Serialize;

use super::failure::Failure;

/// Where a request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Through the gateway.
    Gateway,
    /// Straight to an LLM.
    Direct,
}

/// What the gateway's response headers say about its decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// The chosen model.
    pub model: Option<Arc<str>>,
    /// Why that model.
    pub reason: Option<Arc<str>>,
}

/// A whole completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completed {
    /// When its last byte arrived.
    pub done: Instant,
    /// When a stream's first event arrived.
    pub first_event: Option<Instant>,
}

/// One request and how it ended.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The same number for the request through the gateway and the one beside it.
    pub pair: u64,
    /// Where it went.
    pub side: Side,
    /// Whether it asked for a stream.
    pub is_streamed: bool,
    /// When it should have begun. If the load generator was late, the request has been waiting since then.
    pub due: Instant,
    /// The decision, if there was a response.
    pub labels: Labels,
    /// How it ended.
    pub outcome: Result<Completed, Failure>,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gateway => "gateway",
            Self::Direct => "direct",
        })
    }
}

impl Labels {
    /// Reads the response headers.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(Arc::from);
        Self { model: text(headers::MODEL), reason: text(headers::REASON) }
    }
}

impl Sample {
    /// Milliseconds from when the request was due to its last byte; none if it failed.
    #[must_use]
    pub fn latency_ms(&self) -> Option<f64> {
        self.outcome.ok().map(|completed| self.milliseconds_to(completed.done))
    }

    /// Milliseconds from when the request was due to its stream's first event.
    #[must_use]
    pub fn first_event_ms(&self) -> Option<f64> {
        self.outcome.ok()?.first_event.map(|at| self.milliseconds_to(at))
    }

    fn milliseconds_to(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.due).as_secs_f64() * 1e3
    }
}

//! Prometheus metrics of the classifier. Durations are in seconds.

use std::sync::Arc;
use std::time::Instant;

use llm_router_classifier::metrics as classifier;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::captures::Captures;
use super::decisions::Decisions;
use super::log_writer::LostLines;
use super::reloads::Reloads;

/// How a classification request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The response has scores.
    Classified,
    /// The request had no text to classify, or was not for an LLM.
    Unclassifiable,
    /// The request named a classifier that the model does not have.
    UnknownClassifier,
    /// The request does not follow the contract, or has another major version.
    InvalidRequest,
    /// The request has only the digest of examples that the sidecar does not know.
    UnknownExamples,
    /// The queue was full.
    Overloaded,
    /// The caller's deadline passed before the prediction.
    DeadlineExceeded,
    /// The classifier failed or was shutting down.
    Failed,
    /// The caller left before the response.
    Cancelled,
}

impl Outcome {
    const ALL: [Self; 9] = [
        Self::Classified,
        Self::Unclassifiable,
        Self::UnknownClassifier,
        Self::InvalidRequest,
        Self::UnknownExamples,
        Self::Overloaded,
        Self::DeadlineExceeded,
        Self::Failed,
        Self::Cancelled,
    ];

    fn label(self) -> [(&'static str, &'static str); 1] {
        let name = match self {
            Self::Classified => "classified",
            Self::Unclassifiable => "unclassifiable",
            Self::UnknownClassifier => "unknown_classifier",
            Self::InvalidRequest => "invalid_request",
            Self::UnknownExamples => "unknown_examples",
            Self::Overloaded => "overloaded",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        };
        [("outcome", name)]
    }
}

/// Every metric of the process.
pub struct Metrics {
    registry: Registry,
    requests: Family<[(&'static str, &'static str); 1], Counter>,
    request_seconds: Histogram,
    /// Metrics of tokenizer, queue and backend.
    pub classifier: Arc<classifier::Metrics>,
    /// Memory of bodies that are being received or processed.
    pub body_bytes: Gauge,
    missed_bodies: Counter,
    /// Worker threads of the current classifier that have not died.
    pub workers: Gauge,
    /// Reloads of policy and model.
    pub reloads: Reloads,
    /// Captured prompts.
    pub captures: Captures,
    /// Decisions for Envoy's own filter.
    pub decisions: Decisions,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers the metrics, all at zero.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("llm_router_sidecar"),
            requests: Family::default(),
            // 100 µs to 3.3 s: a small GPU model to a long prompt on a busy CPU.
            request_seconds: Histogram::new(exponential_buckets(100e-6, 2.0, 16)),
            classifier: Arc::default(),
            body_bytes: Gauge::default(),
            missed_bodies: Counter::default(),
            workers: Gauge::default(),
            reloads: Reloads::default(),
            captures: Captures::default(),
            decisions: Decisions::default(),
        };
        for outcome in Outcome::ALL {
            // Created now, so that rates can be computed from the first request on.
            drop(metrics.requests.get_or_create(&outcome.label()));
        }
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        let registry = &mut self.registry;
        registry.register("build", "The version that runs", build);
        registry.register("requests", "Classifications by outcome", self.requests.clone());
        registry.register(
            "request_duration_seconds",
            "Time from a request's body to its response",
            self.request_seconds.clone(),
        );
        self.classifier.register(registry);
        registry.register(
            "body_bytes",
            "Memory of bodies that are being received or processed",
            self.body_bytes.clone(),
        );
        registry.register(
            "missed_bodies",
            "Requests of Envoy's own filter that were not routed because their body did not arrive whole",
            self.missed_bodies.clone(),
        );
        registry.register("workers", "Worker threads of the classifier that are alive", self.workers.clone());
        registry.register_collector(Box::new(LostLines));
        self.captures.register(registry);
        registry.register(
            "reloads",
            "Reloads of the policy and the model by outcome",
            self.reloads.0.clone(),
        );
        self
    }

    /// The metrics as OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, self.decisions.registry()))
            .and_then(|()| encode_eof(&mut text));
        text
    }

    /// Counts a request that is not routed because its body did not arrive whole. Logs the first one: most often, Envoy is not
    /// configured to send it.
    pub fn body_missed(&self) {
        if self.missed_bodies.inc() == 0 {
            tracing::warn!(
                "the request's body did not arrive whole, so the request was not routed; see request_body_mode in docs/native.md"
            );
        }
    }

    /// Starts the clock of a classification request.
    #[must_use]
    pub fn request(&self) -> RequestClock<'_> {
        RequestClock { metrics: self, start: Instant::now(), outcome: Outcome::Cancelled }
    }
}

/// Counts a request when it is dropped, as cancelled unless [`end`](Self::end) was called.
pub struct RequestClock<'a> {
    metrics: &'a Metrics,
    start: Instant,
    outcome: Outcome,
}

impl RequestClock<'_> {
    /// Counts the request with this outcome.
    pub fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for RequestClock<'_> {
    fn drop(&mut self) {
        self.metrics.requests.get_or_create(&self.outcome.label()).inc();
        self.metrics.request_seconds.observe(self.start.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_by_outcome() {
        let metrics = Metrics::new();
        metrics.request().end(Outcome::Classified);
        drop(metrics.request());
        let text = metrics.encode();
        for line in [
            "llm_router_sidecar_requests_total{outcome=\"classified\"} 1",
            "llm_router_sidecar_requests_total{outcome=\"cancelled\"} 1",
            "llm_router_sidecar_requests_total{outcome=\"overloaded\"} 0",
            "llm_router_sidecar_request_duration_seconds_count 2",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}

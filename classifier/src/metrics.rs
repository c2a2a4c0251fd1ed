//! Prometheus metrics of tokenizer, queue and backend. Durations are in seconds.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The metrics of a process's classifier.
#[derive(Debug)]
pub struct Metrics {
    /// Time of a text in the tokenizer.
    pub(crate) tokenize_seconds: Histogram,
    /// Time of a text in the queue.
    pub(crate) queue_seconds: Histogram,
    /// Time of a batch in the backend.
    pub(crate) inference_seconds: Histogram,
    /// Texts that wait for a worker.
    pub(crate) queue_depth: Gauge,
    batch_size: Histogram,
    batch_tokens: Histogram,
    tokens: Counter,
    padding_tokens: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        // 100 µs to 3.3 s: a small GPU model to a long prompt on a busy CPU.
        let durations = || Histogram::new(exponential_buckets(100e-6, 2.0, 16));
        Self {
            tokenize_seconds: durations(),
            queue_seconds: durations(),
            inference_seconds: durations(),
            queue_depth: Gauge::default(),
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            batch_tokens: Histogram::new(exponential_buckets(16.0, 2.0, 11)),
            tokens: Counter::default(),
            padding_tokens: Counter::default(),
        }
    }
}

impl Metrics {
    /// Registers all metrics.
    pub fn register(&self, registry: &mut Registry) {
        let mut durations = |name: &str, help: &str, metric: &Histogram| {
            registry.register(name, help, metric.clone());
        };
        durations("tokenize_duration_seconds", "Time of a text in the tokenizer", &self.tokenize_seconds);
        durations("queue_duration_seconds", "Time of a text in the queue", &self.queue_seconds);
        durations("inference_duration_seconds", "Time of a batch in the model", &self.inference_seconds);
        registry.register("queue_depth", "Texts that wait for a worker", self.queue_depth.clone());
        registry.register("batch_size", "Texts in a batch", self.batch_size.clone());
        registry.register("batch_tokens", "Tokens in a batch, padding included", self.batch_tokens.clone());
        registry.register("tokens", "Tokens of classified texts", self.tokens.clone());
        registry.register("padding_tokens", "Padding tokens", self.padding_tokens.clone());
    }

    /// Counts a batch that went through the backend: its texts, their tokens, and the tokens with padding.
    pub(crate) fn batch(&self, texts: usize, tokens: usize, padded_tokens: usize) {
        self.batch_size.observe(texts as f64);
        self.batch_tokens.observe(padded_tokens as f64);
        self.tokens.inc_by(tokens as u64);
        self.padding_tokens.inc_by(padded_tokens.saturating_sub(tokens) as u64);
    }
}

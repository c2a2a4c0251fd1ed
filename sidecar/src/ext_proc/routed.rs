//! The answer of an LLM on its way back: told what was decided, and read for usage, if Envoy shows it, without being held.

use std::sync::Arc;
use std::time::Instant;

use llm_router_proto::envoy::service::ext_proc::v3::{HttpHeaders, ProcessingResponse};
use llm_router_routing::config::Prices;
use llm_router_routing::decision::{Decision, Reason};
use llm_router_routing::router::Client;
use llm_router_routing::usage::UsageReader;

use super::{answer, request};
use crate::telemetry::metrics::Metrics;

/// A request that went on, and its answer. What the answer used is counted when this is dropped: all is over then.
pub(super) struct Routed {
    decision: Decision,
    /// When it went on.
    since: Instant,
    usage: Option<UsageReader>,
    /// Whether the first token's time is still to be taken.
    awaits_content: bool,
    prices: Prices,
    metrics: Arc<Metrics>,
}

impl Routed {
    pub(super) fn new(decision: Decision, prices: Prices, metrics: Arc<Metrics>) -> Self {
        Self { decision, since: Instant::now(), usage: None, awaits_content: false, prices, metrics }
    }

    /// Tells the client what was decided.
    pub(super) fn headers(&mut self, message: HttpHeaders) -> ProcessingResponse {
        let headers = request::headers(message);
        let headers = Client { path: "", headers: &headers };
        // What is compressed cannot be read without holding it back.
        if headers.header("content-encoding").is_none() {
            let content_type = headers.header("content-type");
            // An answer in one piece begins with its last token. In shadow another model answers: its tokens tell what
            // the chosen one would cost, its speed tells nothing.
            self.awaits_content = content_type.is_some_and(|it| it.starts_with("text/event-stream"))
                && self.decision.reason != Reason::Shadow;
            self.usage = Some(UsageReader::new(content_type));
        }
        let told = self.decision.response_headers();
        answer::explained(told.map(|(name, value)| (name, value.into_owned())).collect())
    }

    /// Reads the next piece of the answer.
    pub(super) fn body(&mut self, piece: &[u8]) {
        let Some(usage) = &mut self.usage else { return };
        usage.read(piece);
        if self.awaits_content && usage.has_content() {
            self.awaits_content = false;
            self.metrics.decisions.first_token(&self.decision.model, self.since.elapsed());
        }
    }
}

impl Drop for Routed {
    fn drop(&mut self) {
        if let Some(usage) = self.usage.as_ref().and_then(UsageReader::usage) {
            self.metrics.decisions.used(&self.prices, &self.decision.model, &usage);
        }
    }
}

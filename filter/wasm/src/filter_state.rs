//! What access logs, rate limits and later filters read of a request, as Envoy's filter state:
//! `%FILTER_STATE(wasm.llm_router.model:PLAIN)%`.
//!
//! One field each, because Envoy puts filter state into its JSON log as a string: an object would be escaped.

use llm_router_routing::decision::Decision;
use llm_router_routing::exchange::Event;
use llm_router_routing::failover::Failover;
use llm_router_routing::headers::EXPLANATION_PREFIX;

use crate::host;

/// Holds the [`Failover`] of a request, for the filter that sees its retries.
pub(crate) const RETRIES: &str = "llm_router.failover";

/// Records an event: the decision under the names of its response headers, `refused`, `estimated_tokens`, and the usage
/// as `input_tokens`, `output_tokens` and their sum, `tokens`.
pub(crate) fn record(event: &Event<'_>) {
    match event {
        Event::Estimated { tokens } => set("estimated_tokens", &tokens.to_string()),
        Event::Routed(decision) | Event::FailedOver { decision, .. } => record_decision(decision),
        Event::Rejected(rejection) => set("refused", rejection.code()),
        Event::Used { usage, .. } => {
            set("input_tokens", &usage.input_tokens.to_string());
            set("output_tokens", &usage.output_tokens.to_string());
            set("tokens", &usage.input_tokens.saturating_add(usage.output_tokens).to_string());
        }
        Event::Step(_) | Event::Classified { .. } | Event::FirstToken { .. } => {}
    }
}

/// Leaves what the retries of a request need.
pub(crate) fn prepare_retries(failover: &Failover) {
    host::set_filter_state(RETRIES, &failover.to_json());
}

fn record_decision(decision: &Decision) {
    for (header, value) in decision.response_headers() {
        if let Some(field) = header.strip_prefix(EXPLANATION_PREFIX) {
            set(field, &value);
        }
    }
}

fn set(field: &str, value: &str) {
    host::set_filter_state(&format!("llm_router.{field}"), value);
}

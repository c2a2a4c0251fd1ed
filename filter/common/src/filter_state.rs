//! Envoy's filter state of a request, for access logs, rate limits and later filters.
//!
//! Each value has its own name, because Envoy puts filter state into its JSON log as a string: an object would be escaped.

use llm_router_routing::exchange::Event;
use llm_router_routing::headers::EXPLANATION_PREFIX;

/// The prefix of the names of all fields.
pub const PREFIX: &str = "llm_router.";

/// The [`Failover`](llm_router_routing::failover::Failover) of a request, for the filter that sees its retries.
pub const FAILOVER: &str = "llm_router.failover";

/// The digests of the keys that the client sent, for retries of the request.
pub const CREDENTIALS: &str = "llm_router.credentials";

/// Calls `set` with the fields that an event adds, without [`PREFIX`]: a decision under the names of its response headers,
/// `rejected`, `estimated_tokens`, and the usage as `input_tokens`, `output_tokens` and their sum, `tokens`.
pub fn fields(event: &Event<'_>, mut set: impl FnMut(&str, &str)) {
    match event {
        Event::Estimated { tokens } => set("estimated_tokens", &tokens.to_string()),
        Event::Routed(decision) | Event::FailedOver { decision, .. } => {
            for (header, value) in decision.response_headers() {
                if let Some(field) = header.strip_prefix(EXPLANATION_PREFIX) {
                    set(field, &value);
                }
            }
        }
        Event::Rejected(rejection) => set("rejected", rejection.code()),
        Event::Used { usage, .. } => {
            set("input_tokens", &usage.input_tokens.to_string());
            set("output_tokens", &usage.output_tokens.to_string());
            set("tokens", &usage.input_tokens.saturating_add(usage.output_tokens).to_string());
        }
        Event::Step(_) | Event::Classified { .. } | Event::FirstToken { .. } => {}
    }
}

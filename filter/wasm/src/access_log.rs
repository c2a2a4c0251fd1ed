//! What access logs and rate limits can tell of a request, as Envoy's filter state: `%FILTER_STATE(wasm.llm_router.model:PLAIN)%`.
//!
//! A field each, because Envoy puts filter state into its JSON log as a string: an object would be escaped.

use llm_router_routing::decision::Decision;
use llm_router_routing::rejection::Rejection;
use llm_router_routing::usage::Usage;

use crate::host;

/// Tells the decision, under the names of its response headers: `model`, `reason`, and if they are known `policy`,
/// `label`, `confidence` and `score`.
pub(crate) fn tell_decision(decision: &Decision) {
    for (header, value) in decision.response_headers() {
        if let Some(field) = header.strip_prefix("x-llm-router-") {
            tell(field, &value);
        }
    }
}

/// Tells why the request was refused, or would have been: `refused`.
pub(crate) fn tell_refusal(refusal: &Rejection) {
    tell("refused", refusal.code());
}

/// Tells how many tokens the request may take, by an estimate: what its prompt has, and what it allows for the answer.
/// For a limit that is kept before the request goes on.
pub(crate) fn tell_estimate(tokens: u64) {
    tell("estimated_tokens", &tokens.to_string());
}

/// Tells what the LLM says that the request took: `input_tokens`, `output_tokens`, and their sum, `tokens`.
pub(crate) fn tell_usage(usage: &Usage) {
    tell("input_tokens", &usage.input_tokens.to_string());
    tell("output_tokens", &usage.output_tokens.to_string());
    tell("tokens", &usage.input_tokens.saturating_add(usage.output_tokens).to_string());
}

fn tell(field: &str, value: &str) {
    host::set_filter_state(&format!("llm_router.{field}"), value);
}

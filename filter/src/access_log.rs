//! What access logs can tell of a request, as Envoy's filter state: `%FILTER_STATE(wasm.llm_router.model:PLAIN)%`.
//!
//! A field each, because Envoy puts filter state into its JSON log as a string: an object would be escaped.

use llm_router_routing::decision::Decision;
use llm_router_routing::refusal::Refusal;

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
pub(crate) fn tell_refusal(refusal: &Refusal) {
    tell("refused", refusal.code());
}

fn tell(field: &str, value: &str) {
    host::set_filter_state(&format!("llm_router.{field}"), value);
}

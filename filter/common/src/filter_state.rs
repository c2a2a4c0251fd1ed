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

/// The most tokens that Envoy's rate limits take at once. They let a request with more pass uncounted.
const MAX_HITS: u64 = 1_000_000_000;

/// Calls `set` with the fields that an event adds, without [`PREFIX`]: a decision under the names of its response headers,
/// `rejected`, `estimated_tokens`, and the usage as `input_tokens`, `output_tokens` and their sum, `tokens`.
pub fn fields(event: &Event<'_>, mut set: impl FnMut(&str, &str)) {
    match event {
        // Envoy's local rate limit rejects a request that takes no tokens.
        Event::Estimated { tokens } => set("estimated_tokens", &(*tokens).clamp(1, MAX_HITS).to_string()),
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
            let tokens = usage.input_tokens.saturating_add(usage.output_tokens);
            set("tokens", &tokens.min(MAX_HITS).to_string());
        }
        Event::Step(_) | Event::Classified { .. } | Event::FirstToken { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimated(tokens: u64) -> String {
        let mut found = Vec::new();
        fields(&Event::Estimated { tokens }, |name, value| found.push((name.to_owned(), value.to_owned())));
        match &found[..] {
            [(name, value)] if name == "estimated_tokens" => value.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_estimate_is_a_number_that_envoys_rate_limits_take() {
        for (tokens, recorded) in [
            (0, "1"),
            (1, "1"),
            (300, "300"),
            (1_000_000_000, "1000000000"),
            (1_000_000_001, "1000000000"),
            (u64::MAX, "1000000000"),
        ] {
            assert_eq!(estimated(tokens), recorded, "{tokens}");
        }
    }
}

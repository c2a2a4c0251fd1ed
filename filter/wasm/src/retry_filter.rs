//! The filter in front of the LLMs, which Envoy runs once per attempt of a request: it turns a retry into what the policy's
//! next model wants, and sets where the attempt after it goes.
//!
//! It runs upstream of the retries, so it sees what the attempt before left: its changes of the headers stay, while the
//! body comes anew, as the router filter wrote it for the first model.

use llm_router_routing::failover::{Failover, Retry, credentials, foreign_credentials};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::filter_state::RETRIES;
use crate::host::{self, RequestHeaders};

/// The filter state with digests of the keys that a request came with.
const CREDENTIALS: &str = "llm_router.credentials";

/// One attempt.
#[derive(Default)]
pub(crate) struct RetryFilter {
    /// While its headers are held.
    waiting: Option<Waiting>,
}

/// What is to be made of a body that is not there yet.
struct Waiting {
    failover: Failover,
    retry: Retry,
    has_content_length: bool,
}

impl HttpContext for RetryFilter {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        let Some(failover) = host::filter_state(RETRIES).and_then(|json| Failover::from_json(&json)) else {
            return Action::Continue;
        };
        let attempt = host::attempt();
        let headers = RequestHeaders.get_all();
        // The cluster of a retry is read from the header that the attempt before it left.
        if let Some(next) = failover.at_attempt(attempt.saturating_add(1)) {
            RequestHeaders.set(&failover.cluster_header, &next.cluster);
        }
        let Some(retry) = failover.at_attempt(attempt) else {
            host::set_filter_state(CREDENTIALS, &credentials(&headers));
            return Action::Continue;
        };
        // A provider's key must not reach another provider, whoever it is.
        let before = host::filter_state(CREDENTIALS).unwrap_or_default();
        for name in foreign_credentials(&headers, &String::from_utf8_lossy(&before)) {
            RequestHeaders.remove(name);
        }
        // Envoy's routes may retry without changing the cluster.
        if end_of_stream || host::cluster().as_ref() != Some(&retry.cluster) {
            return Action::Continue;
        }
        RequestHeaders.set(":path", &retry.path);
        RequestHeaders.set(":authority", &retry.host);
        let has_content_length = headers.get("content-length").is_some();
        let retry = retry.clone();
        self.waiting = Some(Waiting { failover, retry, has_content_length });
        Action::Pause
    }

    /// Envoy has kept the whole body for its retries, so it comes in one piece.
    fn on_http_request_body(&mut self, size: usize, _end_of_stream: bool) -> Action {
        let Some(waiting) = self.waiting.take_if(|_| size > 0) else { return Action::Continue };
        if let Some(rewritten) = waiting.failover.body(&waiting.retry, &host::request_body()) {
            host::set_request_body(&rewritten);
            if waiting.has_content_length {
                RequestHeaders.set("content-length", &rewritten.len().to_string());
            }
        }
        Action::Continue
    }
}

impl Context for RetryFilter {}

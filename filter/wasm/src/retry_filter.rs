//! The filter in front of the LLMs, which Envoy runs once per attempt of a request: it turns a retry into a request for the
//! policy's next model, and sets the cluster of the attempt after it.

use llm_router_filter_common::attempt::{AttemptHeaders, RetriedBody};
use llm_router_filter_common::filter_state::{CREDENTIALS, FAILOVER};
use llm_router_routing::exchange::Attempt;
use llm_router_routing::failover::Failover;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::host::{self, RequestHeaders};

/// One attempt.
#[derive(Default)]
pub(crate) struct RetryFilter {
    /// The rewriting of the body, while the headers are held.
    body: Option<RetriedBody>,
}

impl HttpContext for RetryFilter {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        let Some(failover) = host::filter_state(FAILOVER).and_then(|json| Failover::from_json(&json)) else {
            return Action::Continue;
        };
        let attempt = Attempt { number: host::attempt(), cluster: host::cluster() };
        let headers = RequestHeaders.get_all();
        let before = || host::filter_state(CREDENTIALS).unwrap_or_default();
        let plan = AttemptHeaders::new(failover, &attempt, &headers, !end_of_stream, before);
        for (name, value) in &plan.set {
            RequestHeaders.set(name, value);
        }
        for name in &plan.remove {
            RequestHeaders.remove(name);
        }
        if let Some(credentials) = &plan.credentials {
            host::set_filter_state(CREDENTIALS, credentials);
        }
        self.body = plan.body;
        if self.body.is_some() { Action::Pause } else { Action::Continue }
    }

    /// Envoy has kept the whole body for its retries, so it comes in one piece.
    fn on_http_request_body(&mut self, size: usize, _end_of_stream: bool) -> Action {
        let Some(body) = self.body.take_if(|_| size > 0) else { return Action::Continue };
        if let Some((rewritten, length)) = body.rewrite(&host::request_body()) {
            host::set_request_body(&rewritten);
            if let Some(length) = length {
                RequestHeaders.set("content-length", &length);
            }
        }
        Action::Continue
    }
}

impl Context for RetryFilter {}

//! The filter in front of the LLMs, which Envoy runs once per attempt of a request. It turns a retry into the request that the
//! policy's next model expects, and sets the cluster of the attempt after it.

use std::cell::RefCell;

use llm_router_filter_common::attempt::{AttemptHeaders, RetriedBody};
use llm_router_filter_common::filter_state::{CREDENTIALS, FAILOVER};
use llm_router_routing::failover::Failover;

use crate::abi::{BodyStatus, HeadersStatus};
use crate::envoy::EnvoyFilter;
use crate::held_body::HeldBody;

/// One attempt.
#[derive(Debug, Default)]
pub(crate) struct RetryFilter(RefCell<Option<Box<Waiting>>>);

/// A body to rewrite, while the headers are held.
#[derive(Debug)]
struct Waiting {
    retried: RetriedBody,
    body: HeldBody,
}

impl RetryFilter {
    /// The headers of the attempt.
    pub(crate) fn request_headers(&self, envoy: &EnvoyFilter, end_of_stream: bool) -> HeadersStatus {
        let failover = envoy.filter_state(FAILOVER);
        let Some(failover) = failover.and_then(|json| Failover::from_json(&json)) else {
            return HeadersStatus::Continue;
        };
        let headers = envoy.request_headers();
        let before = || envoy.filter_state(CREDENTIALS).unwrap_or_default();
        let plan = AttemptHeaders::new(failover, &envoy.attempt(), &headers, !end_of_stream, before);
        for (name, value) in &plan.set {
            envoy.set_request_header(name, value);
        }
        for name in &plan.remove {
            envoy.remove_request_header(name);
        }
        if let Some(credentials) = &plan.credentials {
            envoy.set_filter_state(CREDENTIALS, credentials);
        }
        let waiting = plan.body.map(|retried| Box::new(Waiting { retried, body: HeldBody::new(None) }));
        let status = if waiting.is_some() { HeadersStatus::StopIteration } else { HeadersStatus::Continue };
        self.0.replace(waiting);
        status
    }

    /// A chunk of the attempt's body.
    pub(crate) fn request_body(&self, envoy: &EnvoyFilter, end_of_stream: bool) -> BodyStatus {
        let Some(mut waiting) = self.0.take() else { return BodyStatus::Continue };
        envoy.take_request_chunk(&mut waiting.body);
        if !end_of_stream {
            self.0.replace(Some(waiting));
            return BodyStatus::StopIterationNoBuffer;
        }
        finish(envoy, &waiting, true);
        BodyStatus::Continue
    }

    /// The attempt's trailers, and so the end of its body.
    pub(crate) fn request_trailers(&self, envoy: &EnvoyFilter) {
        if let Some(waiting) = self.0.take() {
            finish(envoy, &waiting, false);
        }
    }
}

fn finish(envoy: &EnvoyFilter, waiting: &Waiting, in_body_hook: bool) {
    let Some((body, length)) = waiting.retried.rewrite(waiting.body.bytes()) else {
        envoy.append_request_body(waiting.body.bytes(), in_body_hook);
        return;
    };
    if let Some(length) = length {
        envoy.set_request_header("content-length", &length);
    }
    envoy.append_request_body(&body, in_body_hook);
}

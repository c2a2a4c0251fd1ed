//! A request through the filter, event by event, with a fake Envoy: for the fuzz target `module`.
#![allow(unsafe_code, clippy::expect_used)]

use std::ptr;

use crate::configuration::FilterConfig;
use crate::fake_envoy::FakeEnvoy;
use crate::{grpc, guard};

const HEADERS: [(&str, &str); 3] =
    [(":method", "POST"), (":path", "/v1/chat/completions"), (":authority", "gateway")];

/// A request to a filter of its own.
pub struct Request {
    // Before the configuration, which its filter belongs to.
    envoy: Box<FakeEnvoy>,
    _config: FilterConfig,
    has_ended: bool,
}

/// What Envoy does within the callbacks of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conduct {
    /// Ends a call to the sidecar while it is being started.
    pub ends_calls_at_once: bool,
    /// Responds and destroys the filter when a body is appended.
    pub gives_up_on_append: bool,
}

impl Request {
    /// The headers of a request for a chat completion have arrived.
    ///
    /// # Panics
    /// If the policy is not valid JSON for a policy.
    #[must_use]
    pub fn new(policy: &str, conduct: Conduct) -> Self {
        // SAFETY: this Envoy does not look at the pointer.
        let config = unsafe { FilterConfig::new(ptr::null_mut(), "llm_router", policy.as_bytes()) };
        let config = config.expect("a policy");
        let envoy = FakeEnvoy::new(&config, &HEADERS);
        envoy.ends_stream_at_once.set(conduct.ends_calls_at_once);
        envoy.gives_up_on_append.set(conduct.gives_up_on_append);
        envoy.headers(false);
        Self { envoy, _config: config, has_ended: false }
    }

    /// A chunk of the body arrives. Does nothing if the body has ended.
    pub fn chunk(&mut self, chunk: &[u8], end: bool) {
        if !self.has_ended {
            self.has_ended = end;
            self.envoy.body(chunk, end);
        }
    }

    /// The trailers arrive. Does nothing if the body has ended.
    pub fn trailers(&mut self) {
        if !self.has_ended {
            self.has_ended = true;
            self.envoy.trailers();
        }
    }

    /// The sidecar responds with this gRPC status and message.
    pub fn sidecar(&self, stream: u64, status: &str, message: &[u8]) {
        self.envoy.answer_call(stream, status, &grpc::frame(message));
    }

    /// A stream to the sidecar is reset.
    pub fn reset(&self, stream: u64) {
        if let Some(filter) = self.envoy.filter() {
            filter.call_ended(stream, true);
        }
    }

    /// A response arrives, of an LLM or of Envoy.
    pub fn respond(&self, chunk: &[u8]) {
        self.envoy.respond(&[chunk]);
    }

    /// Envoy destroys the filter.
    pub fn destroy(&self) {
        self.envoy.destroy();
    }

    /// Checks the invariants.
    ///
    /// # Panics
    /// If one is violated.
    pub fn check(&self) {
        assert_eq!(guard::take_panics(), 0, "a hook panicked");
        let is_decided = self.envoy.request_header("x-llm-cluster").is_some();
        let forwarded = self.envoy.forwarded.borrow();
        if is_decided && !forwarded.is_empty() {
            let text = String::from_utf8_lossy(&forwarded);
            assert!(text.contains("up/"), "an LLM gets {text:?} without its own model");
        }
        let has_response = self.envoy.response.borrow().is_some();
        assert!(!(has_response && self.envoy.has_continued.get()), "a request continued after its response");
    }
}

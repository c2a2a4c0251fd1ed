//! The filter that Envoy holds: one of our two filters, its access to Envoy, and the handling of its panics.

use std::sync::Arc;

use crate::abi::{BodyStatus, FilterPtr, HeadersStatus};
use crate::configuration::FilterConfig;
use crate::envoy::EnvoyFilter;
use crate::guard;
use crate::retry_filter::RetryFilter;
use crate::router_filter::{Hook, RouterFilter};

/// One of our filters, for one request or one attempt of it.
///
/// It recovers from panics. After a panic in a hook of the request, the router decides again without the classifier; if that
/// panics too, the client gets a 500. After a panic in a hook of the response, the response passes unchanged.
#[derive(Debug)]
pub(crate) struct HttpFilter {
    envoy: EnvoyFilter,
    role: Role,
}

#[derive(Debug)]
enum Role {
    Router(Box<RouterFilter>),
    Retry(RetryFilter),
}

impl HttpFilter {
    /// # Safety
    /// `envoy` is what Envoy passed to `filter_new`, and [`HttpFilter::destroyed`] is called in its `filter_destroy`.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn new(config: &FilterConfig, envoy: FilterPtr) -> Self {
        let role = match config {
            FilterConfig::Router { gateway, .. } => {
                Role::Router(Box::new(RouterFilter::new(Arc::clone(gateway))))
            }
            FilterConfig::Failover => Role::Retry(RetryFilter::default()),
        };
        // SAFETY: as above.
        Self { envoy: unsafe { EnvoyFilter::new(envoy) }, role }
    }

    pub(crate) fn request_headers(&self, end_of_stream: bool) -> HeadersStatus {
        let hook = || match &self.role {
            Role::Router(router) => router.request_headers(&self.envoy, end_of_stream),
            Role::Retry(retry) => retry.request_headers(&self.envoy, end_of_stream),
        };
        guard::run(hook, || self.fail(HeadersStatus::StopIteration)).unwrap_or(HeadersStatus::StopIteration)
    }

    pub(crate) fn request_body(&self, end_of_stream: bool) -> BodyStatus {
        let hook = || {
            self.envoy.drill.at("request_body");
            match &self.role {
                Role::Router(router) => router.request_body(&self.envoy, end_of_stream),
                Role::Retry(retry) => retry.request_body(&self.envoy, end_of_stream),
            }
        };
        self.request_hook(hook, Hook::Body).unwrap_or(BodyStatus::StopIterationNoBuffer)
    }

    pub(crate) fn request_trailers(&self) -> HeadersStatus {
        let hook = || {
            self.envoy.drill.at("request_trailers");
            let status = match &self.role {
                Role::Router(router) => router.request_trailers(&self.envoy),
                Role::Retry(retry) => {
                    retry.request_trailers(&self.envoy);
                    HeadersStatus::Continue
                }
            };
            match status {
                HeadersStatus::Continue => BodyStatus::Continue,
                HeadersStatus::StopIteration => BodyStatus::StopIterationNoBuffer,
            }
        };
        match self.request_hook(hook, Hook::Trailers) {
            Some(BodyStatus::Continue) => HeadersStatus::Continue,
            _ => HeadersStatus::StopIteration,
        }
    }

    pub(crate) fn response_headers(&self) {
        self.response_hook("response_headers", |router| router.response_headers(&self.envoy));
    }

    pub(crate) fn response_body(&self, end_of_stream: bool) {
        self.response_hook("response_body", |router| router.response_body(&self.envoy, end_of_stream));
    }

    pub(crate) fn response_trailers(&self) {
        self.response_hook("response_trailers", |router| router.response_end(&self.envoy));
    }

    /// Headers or trailers of a stream to the sidecar.
    pub(crate) fn call_headers<'h>(&self, stream: u64, headers: impl Iterator<Item = (&'h [u8], &'h [u8])>) {
        self.response_hook("call_headers", |router| {
            headers.for_each(|(name, value)| router.call_header(stream, name, value));
        });
    }

    pub(crate) fn call_data<'d>(&self, stream: u64, pieces: impl Iterator<Item = &'d [u8]>) {
        self.response_hook("call_data", |router| pieces.for_each(|piece| router.call_data(stream, piece)));
    }

    pub(crate) fn call_ended(&self, stream: u64, was_reset: bool) {
        let hook = || {
            self.envoy.drill.at("call_ended");
            if let Role::Router(router) = &self.role {
                router.call_ended(&self.envoy, stream, was_reset);
            }
            BodyStatus::Continue
        };
        self.request_hook(hook, Hook::Call);
    }

    /// The request is over.
    pub(crate) fn finish(&self) {
        self.response_hook("finish", |router| router.finish(&self.envoy));
    }

    /// Envoy destroys its filter.
    pub(crate) fn destroyed(&self) {
        self.finish();
        self.envoy.destroyed();
    }

    /// Runs a hook that may decide on the request.
    fn request_hook(&self, hook: impl FnOnce() -> BodyStatus, which: Hook) -> Option<BodyStatus> {
        let recover = || {
            self.envoy.drill.at("recovery");
            match &self.role {
                Role::Router(router) => router.recover_request(&self.envoy, which),
                Role::Retry(_) => self.fail(BodyStatus::StopIterationNoBuffer),
            }
        };
        let status = guard::run(hook, recover);
        if status.is_none() {
            guard::run(|| self.fail(()), || ());
        }
        status
    }

    /// Runs a hook that does not decide on the request.
    fn response_hook(&self, name: &str, hook: impl FnOnce(&RouterFilter)) {
        let hook = || {
            self.envoy.drill.at(name);
            if let Role::Router(router) = &self.role {
                hook(router);
            }
        };
        guard::run(hook, || ());
    }

    /// Responds to a request whose state was lost.
    fn fail<T>(&self, status: T) -> T {
        match &self.role {
            Role::Router(router) => router.fail(&self.envoy),
            Role::Retry(_) => self.envoy.send_response(500, &[], b"", Some("internal_error")),
        }
        status
    }
}

//! A call to the sidecar: a unary gRPC call over an HTTP/2 stream, whose status comes in the trailers.

use llm_router_filter_common::correlation;
use llm_router_filter_common::request::RequestEncoder;
use llm_router_filter_common::response::{self, Failure};
use llm_router_proto::{METHOD, SERVICE};
use llm_router_routing::exchange::{CallResult, Query};

use crate::envoy::{EnvoyFilter, NotStarted};
use crate::grpc::{self, Outcome, Response};

/// A call in progress.
#[derive(Debug, Default)]
pub(crate) struct Call {
    /// `None` while Envoy starts the stream: the stream's hooks may already run within that callback.
    stream: Option<u64>,
    response: Response,
    /// Whether the stream has ended, and was reset.
    ended: Option<bool>,
}

/// A request to the sidecar. It owns all of its parts, because Envoy may call hooks while it starts the stream.
#[derive(Debug)]
pub(crate) struct CallRequest {
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    timeout: std::time::Duration,
}

impl CallRequest {
    /// The request for this query.
    pub(crate) fn new(query: &Query<'_>, encoder: &RequestEncoder, authority: &str) -> Self {
        let timeout = grpc::timeout(query.timeout);
        let path = format!("/{SERVICE}/{METHOD}");
        let own = [
            (":method", "POST"),
            (":path", &path),
            (":authority", authority),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("grpc-timeout", &timeout),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        let trace = correlation::headers(query.head.headers());
        let trace = trace.into_iter().map(|(name, value)| (name.to_owned(), value.to_vec()));
        let body = grpc::frame(&encoder.encode(query));
        Self { headers: own.chain(trace).collect(), body, timeout: query.timeout }
    }

    /// Has Envoy send the request to this cluster.
    ///
    /// # Errors
    /// Envoy could not start the stream.
    pub(crate) fn send(&self, cluster: &str, envoy: &EnvoyFilter) -> Result<u64, NotStarted> {
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        envoy.start_stream(cluster, &headers, &self.body, self.timeout)
    }
}

impl Call {
    /// Envoy has started the stream.
    pub(crate) fn started(&mut self, stream: u64) {
        self.stream = Some(stream);
    }

    /// Envoy's number of the stream, once it has started.
    pub(crate) fn stream(&self) -> Option<u64> {
        self.stream
    }

    /// Whether a hook for this stream is about this call.
    pub(crate) fn is_about(&self, stream: u64) -> bool {
        self.stream.is_none_or(|own| own == stream)
    }

    /// Reads a header or a trailer.
    pub(crate) fn header(&mut self, name: &[u8], value: &[u8]) {
        self.response.header(name, value);
    }

    /// Reads a piece of the body.
    pub(crate) fn data(&mut self, piece: &[u8]) {
        self.response.data(piece);
    }

    /// The stream has ended. Only the first end counts.
    pub(crate) fn ended(&mut self, was_reset: bool) {
        self.ended.get_or_insert(was_reset);
    }

    /// Whether the stream has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// The result of the call. `warn` gets the failures in the response.
    pub(crate) fn result(self, query: &Query<'_>, mut warn: impl FnMut(Failure)) -> CallResult {
        let result = match self.response.end(self.ended.unwrap_or(true)) {
            Outcome::Message(message) => response::read(&message, query, &mut warn),
            Outcome::Status(code, message) => response::status(code, query, || message),
        };
        result.unwrap_or_else(|failure| {
            warn(failure);
            CallResult::Unavailable
        })
    }
}

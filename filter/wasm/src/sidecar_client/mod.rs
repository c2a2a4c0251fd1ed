//! The call to the sidecar.

mod target;

use llm_router_filter_common::request::RequestEncoder;
use llm_router_filter_common::response;
use llm_router_proto::{METHOD, SERVICE};
use llm_router_routing::exchange::{CallResult, Query};
use proxy_wasm::types::Status;

use crate::host::{self, CallId};

/// Calls the sidecar, for one worker.
pub(crate) struct SidecarClient {
    target: String,
    encoder: RequestEncoder,
}

impl SidecarClient {
    /// A client of the sidecar that Envoy knows as this cluster.
    pub(crate) fn new(cluster: &str) -> Self {
        Self { target: target::target(cluster).into_owned(), encoder: RequestEncoder::default() }
    }

    /// Calls the sidecar to classify the query's prompt within its timeout. `trace` are the headers of the client's trace.
    ///
    /// # Errors
    /// The call failed at once, for example because the cluster is not configured.
    pub(crate) fn classify(&self, query: &Query<'_>, trace: Vec<(&str, &[u8])>) -> Result<CallId, Status> {
        let message = self.encoder.encode(query);
        host::call_grpc(&self.target, SERVICE, METHOD, trace, &message, query.timeout)
    }
}

/// How a call ended, in its callback. `on_missing` gets the failures of some predictions if others are usable.
pub(crate) fn response(
    code: u32,
    size: usize,
    query: &Query<'_>,
    on_missing: impl FnMut(response::Failure),
) -> Result<CallResult, response::Failure> {
    match code {
        response::OK => {
            let message = host::grpc_response(size).unwrap_or_default();
            response::read(&message, query, on_missing)
        }
        _ => response::status(code, query, host::grpc_status_message),
    }
}

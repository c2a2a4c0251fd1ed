//! The service as it is now: what each gRPC call is given, and keeps to its end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use llm_router_proto::envoy::service::ext_proc::v3::external_processor_server::ExternalProcessorServer;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;

use super::Service;
use super::body_memory::{Counted, Held};

/// Longest message without a policy, which has a limit of its own. It bounds the request bodies of Envoy's own filter,
/// which Envoy's buffer limit should do first.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Bodies somewhat over a policy's limit are read too, since they are answered with its 413.
const ROOM_OVER_LIMIT: usize = 2 << 20;

/// A service that can be replaced between two requests. One request sees one model and one policy, those that were
/// current when it came, however long it takes. Clones are the same one.
#[derive(Clone)]
pub struct Live {
    service: Arc<ArcSwap<Service>>,
    body_memory: usize,
}

impl Live {
    /// Begins with this one. The bodies of all requests may take so many bytes at a time; more are refused.
    #[must_use]
    pub fn new(service: Service, body_memory: usize) -> Self {
        Self { service: Arc::new(ArcSwap::from_pointee(service)), body_memory }
    }

    /// What the next request will see.
    #[must_use]
    pub fn current(&self) -> Arc<Service> {
        self.service.load_full()
    }

    /// Has all further requests see this one.
    pub fn replace(&self, service: Service) {
        self.service.store(Arc::new(service));
    }
}

impl NamedService for Live {
    const NAME: &'static str = llm_router_proto::SERVICE;
}

impl tonic::codegen::Service<Request<Body>> for Live {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.current();
        let max_message = max_message(&service);
        let held = Held::new(self.body_memory, service.metrics.clone());
        let mut request = request.map(|body| Body::new(Counted { body, held: held.clone() }));
        request.extensions_mut().insert(held);
        ExternalProcessorServer::from_arc(service).max_decoding_message_size(max_message).call(request)
    }
}

fn max_message(service: &Service) -> usize {
    let policy = service.router.as_ref().map(|router| router.config().limits.max_body + ROOM_OVER_LIMIT);
    policy.unwrap_or_default().max(MAX_MESSAGE_BYTES)
}

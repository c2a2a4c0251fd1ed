//! The current service. Each gRPC call takes the policy when it arrives, and the model when its body has arrived.

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
use super::body_memory::{BodyMemory, MeteredBody};
use super::large_bodies::LargeBodies;

/// Longest message, unless the policy's limit is higher. It bounds the request bodies of Envoy's own filter,
/// although Envoy's buffer limit should apply first.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Bodies slightly over a policy's limit are still read, because they are rejected with its 413.
const HEADROOM_OVER_LIMIT: usize = 2 << 20;

/// A service that can be replaced while it serves. A request sees the policy that was current when it arrived, and the model
/// that was current when its body had arrived. So a request whose body does not arrive, or whose response takes hours, does not
/// keep an old model in memory. Clones share the service.
#[derive(Clone)]
pub struct ReloadableService {
    service: Arc<ArcSwap<Service>>,
    body_memory: BodyMemory,
    large_bodies: Arc<LargeBodies>,
}

impl ReloadableService {
    /// Starts with this service. The bodies of all requests together may take `body_memory` bytes; further ones are rejected.
    #[must_use]
    pub fn new(service: Service, body_memory: usize) -> Self {
        Self {
            service: Arc::new(ArcSwap::from_pointee(service)),
            body_memory: BodyMemory::new(body_memory),
            large_bodies: Arc::new(LargeBodies::new()),
        }
    }

    /// The service that the next request will see.
    #[must_use]
    pub fn current(&self) -> Arc<Service> {
        self.service.load_full()
    }

    /// The turns of large bodies.
    pub(super) fn large_bodies(&self) -> &LargeBodies {
        &self.large_bodies
    }

    /// Whether the current classifier can classify.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.service.load().pipeline.is_healthy()
    }

    /// Replaces the service for all further requests.
    pub fn replace(&self, service: Service) {
        self.service.store(Arc::new(service));
    }
}

impl NamedService for ReloadableService {
    const NAME: &'static str = llm_router_proto::SERVICE;
}

impl tonic::codegen::Service<Request<Body>> for ReloadableService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.current();
        let max_message = max_message(&service);
        let permit = self.body_memory.permit(service.metrics.clone());
        let mut request = request.map(|body| Body::new(MeteredBody::new(body, permit.clone())));
        request.extensions_mut().insert(permit);
        ExternalProcessorServer::new(self.clone()).max_decoding_message_size(max_message).call(request)
    }
}

fn max_message(service: &Service) -> usize {
    let policy = service.router.as_ref().map(|router| router.config().limits.max_body + HEADROOM_OVER_LIMIT);
    policy.unwrap_or_default().max(MAX_MESSAGE_BYTES)
}

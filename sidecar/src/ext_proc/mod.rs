//! Envoy's external-processing service: a stream of messages in, one answer to each out.
//!
//! Our filter sends one `request_body` and ends its side; Envoy's own filter sends headers, body and perhaps trailers
//! on a stream that it keeps open. Both are the same loop, which ends when the caller's side does. What a stream is
//! for shows with its first message: with headers and a policy, its request is routed here ([`routed_request`]); else its body
//! is only classified ([`classify`]).

mod answer;
mod body_memory;
mod classify;
mod deadline;
mod dry_run;
mod health;
mod metadata;
mod policy_router;
mod reloadable;
mod request;
mod routed_request;
pub mod server;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{Stream, stream};
use llm_router_proto::envoy::config::core::v3::Metadata;
use llm_router_proto::envoy::service::ext_proc::v3::{
    BodyResponse, HeadersResponse, HttpHeaders, ProcessingRequest, ProcessingResponse, TrailersResponse,
    external_processor_server::ExternalProcessor, processing_request, processing_response::Response,
};
use llm_router_proto::{Struct, context};
use llm_router_routing::request::Endpoint;
use opentelemetry::Context;
use opentelemetry::context::FutureExt;
use tonic::{Request, Status, Streaming};

use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces;
use body_memory::BodyPermit;
pub(crate) use dry_run::DryRun;
use llm_router_classifier::pipeline::Pipeline;
pub use policy_router::PolicyRouter;
pub use reloadable::ReloadableService;
use routed_request::RoutedRequest;

/// The service: one model and one policy. Clones share everything.
#[derive(Clone)]
pub struct Service {
    /// Classifies prompts.
    pub pipeline: Pipeline,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// Decides for Envoy's own filter; without one, its requests are only classified.
    pub router: Option<Arc<PolicyRouter>>,
}

/// One HTTP request that Envoy has us process.
struct Call {
    service: Service,
    messages: Streaming<ProcessingRequest>,
    task: Task,
    /// Until when the caller waits, if it says so.
    deadline: Option<Instant>,
    /// The caller's span, if there is one.
    trace: Option<Context>,
    /// The memory that the current message takes.
    permit: Option<BodyPermit>,
}

/// What Envoy says of a request beside its headers and body.
struct Known {
    attributes: HashMap<String, Struct>,
    metadata: Option<Metadata>,
}

/// What is done for a request.
enum Task {
    /// Its body is classified, if it is for an LLM.
    Classify(Option<Endpoint>),
    /// It is routed.
    Route(Box<RoutedRequest>),
}

#[tonic::async_trait]
impl ExternalProcessor for Service {
    type ProcessStream = Pin<Box<dyn Stream<Item = Result<ProcessingResponse, Status>> + Send>>;

    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<tonic::Response<Self::ProcessStream>, Status> {
        let metadata = request.metadata();
        let trace = traces::parent(|name| metadata.get(name)?.to_str().ok());
        let call = Call {
            trace,
            permit: request.extensions().get().cloned(),
            service: self.clone(),
            deadline: deadline::from_metadata(request.metadata()),
            messages: request.into_inner(),
            // Our filter sends no headers, and always this.
            task: Task::Classify(Some(Endpoint::ChatCompletions)),
        };
        // Answers are made as they are read: when the caller resets the stream, tonic drops this one, and with it the
        // classification in progress.
        let answers = stream::try_unfold(call, |mut call| async {
            let answer = call.next().await?;
            Ok(answer.map(|answer| (answer, call)))
        });
        Ok(tonic::Response::new(Box::pin(answers)))
    }
}

impl Call {
    /// The answer to the next message; none when the caller's side has ended.
    async fn next(&mut self) -> Result<Option<ProcessingResponse>, Status> {
        use processing_request::Request;
        let Some(message) = self.messages.message().await? else { return Ok(None) };
        let Some(request) = message.request else {
            return Err(Status::invalid_argument("the processing request is empty"));
        };
        let trace = match &request {
            Request::RequestBody(_) => traces::request(self.trace.as_ref()),
            _ => Context::new(),
        };
        let known = Known { attributes: message.attributes, metadata: message.metadata_context };
        let answer = self.answer(request, known).with_context(trace.clone()).await;
        traces::end(&trace, &answer);
        if let Some(permit) = &self.permit {
            permit.release();
        }
        answer.map(Some)
    }

    async fn answer(
        &mut self,
        request: processing_request::Request,
        known: Known,
    ) -> Result<ProcessingResponse, Status> {
        use processing_request::Request;
        let answer = match (request, &mut self.task) {
            (Request::RequestHeaders(headers), _) => self.begin(headers, &known),
            (Request::RequestBody(body), Task::Classify(endpoint)) => {
                self.service.classify(*endpoint, known.metadata, body.body, self.deadline).await?
            }
            (Request::RequestBody(body), Task::Route(routed)) => {
                routed.request_body(&self.service, &body.body).await
            }
            (Request::ResponseHeaders(headers), Task::Route(routed)) => routed.response_headers(headers),
            (Request::ResponseHeaders(_), Task::Classify(_)) => {
                answer::of(Response::ResponseHeaders(HeadersResponse::default()))
            }
            (Request::RequestTrailers(_), _) => {
                answer::of(Response::RequestTrailers(TrailersResponse::default()))
            }
            (Request::ResponseBody(body), task) => {
                if let Task::Route(routed) = task {
                    routed.response_body(&body);
                }
                answer::of(Response::ResponseBody(BodyResponse::default()))
            }
            (Request::ResponseTrailers(_), _) => {
                answer::of(Response::ResponseTrailers(TrailersResponse::default()))
            }
        };
        Ok(answer)
    }

    fn begin(&mut self, headers: HttpHeaders, known: &Known) -> ProcessingResponse {
        // Envoy's own span, if it has one, is nearer than what the client sent.
        if self.trace.is_none() {
            self.trace = traces::parent(|name| request::header(&headers, name));
        }
        match &self.service.router {
            Some(router) => {
                let metrics = Arc::clone(&self.service.metrics);
                let mut routed = Box::new(RoutedRequest::new(Arc::clone(router), metrics));
                let keys = &router.config().context_keys;
                let context = context::of_message(keys, &known.attributes, known.metadata.as_ref());
                let answer = routed.request_headers(headers, context);
                self.task = Task::Route(routed);
                answer
            }
            None => {
                let endpoint = request::endpoint(&headers);
                self.task = Task::Classify(endpoint);
                match endpoint {
                    Some(_) => answer::without_headers(Vec::new()),
                    None => answer::without_interest(Vec::new()),
                }
            }
        }
    }
}

//! Envoy's external-processing service: a stream of messages in, responses out.
//!
//! Our filter sends one `request_body` and ends its side. Envoy's own filter sends headers, body and perhaps
//! trailers on a stream that it keeps open. The same loop serves both, and ends when the caller ends its
//! side. The first message determines what a stream is for: if it has headers and there is a policy, its
//! request is routed here ([`routed_request`]); otherwise its body is only classified ([`classify`]). How
//! Envoy sends bodies determines when each message gets its response ([`mode`], [`flow`]).

mod answer;
mod body_memory;
mod classify;
mod deadline;
mod dry_run;
mod explanation;
mod flow;
mod grpc_frames;
mod health;
mod large_bodies;
mod metadata;
mod mode;
mod policy_router;
mod reloadable;
mod request;
mod routed_request;
pub mod server;

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use futures_util::{Stream, stream};
use llm_router_proto::envoy::config::core::v3::Metadata;
use llm_router_proto::envoy::service::ext_proc::v3::{
    BodyResponse, HeadersResponse, HttpBody, HttpHeaders, ProcessingRequest, ProcessingResponse,
    external_processor_server::ExternalProcessor, processing_request, processing_response::Response,
};
use llm_router_proto::{Bytes, Struct, context};
use llm_router_routing::config::Mode;
use llm_router_routing::exchange::LocalResponse;
use llm_router_routing::request::Endpoint;
use llm_router_routing::requirements::Api;
use opentelemetry::Context;
use opentelemetry::context::FutureExt;
use tokio::time::timeout_at;
use tonic::{Code, Request, Status, Streaming};

use crate::capture::Capture;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces;
use body_memory::BodyPermit;
pub(crate) use dry_run::DryRun;
pub(crate) use explanation::{ClassifiedText, Explained, ExplainingPolicy};
use flow::{Decision, Next, OnRequest, RequestFlow, Verdict};
use llm_router_classifier::pipeline::Pipeline;
pub use mode::AssumedBodyMode;
use mode::BodyModes;
pub use policy_router::PolicyRouter;
pub use reloadable::ReloadableService;
use routed_request::RoutedRequest;

/// Where Envoy and our filter put the request's id.
const REQUEST_ID: &str = "x-request-id";

/// Longest body that is collected from chunks if no policy sets a limit.
const MAX_COLLECTED: usize = 16 << 20;

/// Responses for which a stream keeps memory.
const FEW_ANSWERS: usize = 16;

/// The service: one model and one policy. Clones share everything.
#[derive(Clone)]
pub struct Service {
    /// Classifies prompts.
    pub pipeline: Pipeline,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// Decides for Envoy's own filter; without one, its requests are only classified.
    pub router: Option<Arc<PolicyRouter>>,
    /// Writes a sample of prompts to files, if that is enabled.
    pub capture: Option<Capture>,
    /// How proxies that do not announce it send bodies.
    pub assumed_body_mode: AssumedBodyMode,
    /// How long a body may be collected from chunks.
    pub body_timeout: Duration,
}

/// One HTTP request that Envoy has us process.
struct Call {
    /// Gives the model once the body has arrived. A model from the call's start would stay in memory as long as the client keeps
    /// the call open.
    service: ReloadableService,
    /// The policy at the call's start.
    router: Option<Arc<PolicyRouter>>,
    metrics: Arc<Metrics>,
    messages: Streaming<ProcessingRequest>,
    /// Responses that are not sent yet.
    answers: VecDeque<ProcessingResponse>,
    flow: RequestFlow,
    task: Task,
    /// Whether nothing more can be read.
    is_over: bool,
    /// The caller's deadline, if it sent one.
    deadline: Option<Instant>,
    /// The deadline for collecting a body; none if it is too far away for the clock.
    body_deadline: Option<Instant>,
    /// The caller's span, if there is one.
    trace: Option<Context>,
    /// The memory that the request takes.
    permit: Option<BodyPermit>,
    /// Envoy's id of the request, for captures.
    request_id: Option<String>,
}

/// What to do for a request.
enum Task {
    /// Classify its body, if the request is for an LLM.
    Classify(Option<Endpoint>),
    /// Route it.
    Route(Box<RoutedRequest>),
}

#[tonic::async_trait]
impl ExternalProcessor for ReloadableService {
    type ProcessStream = Pin<Box<dyn Stream<Item = Result<ProcessingResponse, Status>> + Send>>;

    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<tonic::Response<Self::ProcessStream>, Status> {
        let service = self.current();
        let metadata = request.metadata();
        let trace = traces::parent(|name| metadata.get(name)?.to_str().ok());
        let call = Call {
            trace,
            permit: request.extensions().get().cloned(),
            request_id: service.captured_id(|name| metadata.get(name)?.to_str().ok()),
            service: self.clone(),
            router: service.router.clone(),
            metrics: Arc::clone(&service.metrics),
            deadline: deadline::from_metadata(request.metadata()),
            body_deadline: Instant::now().checked_add(service.body_timeout),
            messages: request.into_inner(),
            answers: VecDeque::new(),
            // For our filter, which sends no headers. Envoy's own filter sends them first, which replaces
            // both values.
            flow: RequestFlow::new(BodyModes::one_message()),
            task: Task::Classify(Some(Endpoint::ChatCompletions)),
            is_over: false,
        };
        // Responses are made when they are read. If the caller resets the stream, tonic drops this stream,
        // which cancels the classification in progress.
        let answers = stream::try_unfold(call, |mut call| async {
            let answer = call.next().await?;
            Ok(answer.map(|answer| (answer, call)))
        });
        Ok(tonic::Response::new(Box::pin(answers)))
    }
}

impl Service {
    /// The id of a request, from its headers, if the request may be captured.
    fn captured_id<'h>(&self, header: impl FnOnce(&str) -> Option<&'h str>) -> Option<String> {
        self.capture.as_ref().and_then(|_| header(REQUEST_ID)).map(str::to_owned)
    }
}

impl Call {
    /// The next response; none once the caller has ended its side.
    async fn next(&mut self) -> Result<Option<ProcessingResponse>, Status> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Ok(Some(answer));
            }
            // A body of many chunks has as many responses, and the stream may stay open for long.
            self.answers.shrink_to(FEW_ANSWERS);
            if self.is_over {
                return Ok(None);
            }
            let held = self.permit.as_ref().map_or(Ok(()), |permit| permit.hold(self.flow.held_bytes()));
            if let Err(status) = held {
                self.refuse_body(status)?;
                continue;
            }
            let message = self.messages.message();
            let message = match self.body_deadline.filter(|_| self.flow.is_collecting()) {
                Some(deadline) => timeout_at(deadline.into(), message).await,
                None => Ok(message.await),
            };
            match message {
                Ok(Ok(Some(message))) => self.process(message).await?,
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(status)) => self.refuse_body(status)?,
                Err(_) => self.end_collecting(),
            }
        }
    }

    /// Processes a message, and queues the responses that can be made now.
    async fn process(&mut self, message: ProcessingRequest) -> Result<(), Status> {
        use processing_request::Request;
        let ProcessingRequest { request, metadata_context, attributes, protocol_config } = message;
        let Some(request) = request else {
            return Err(Status::invalid_argument("the processing request is empty"));
        };
        match request {
            Request::RequestHeaders(headers) => {
                let modes =
                    BodyModes::new(protocol_config.as_ref(), self.service.current().assumed_body_mode)?;
                if modes.is_blocked_by_response() {
                    warn_of_response_mode();
                }
                self.flow = RequestFlow::new(modes);
                self.begin(headers, &attributes, metadata_context.as_ref());
            }
            Request::RequestBody(HttpBody { body, end_of_stream }) => {
                let next = self.flow.chunk(body, end_of_stream);
                self.carry_out(next, metadata_context).await?;
            }
            Request::RequestTrailers(_) => {
                let next = self.flow.trailers();
                self.carry_out(next, metadata_context).await?;
            }
            Request::ResponseHeaders(headers) => self.response_headers(headers),
            Request::ResponseBody(body) => self.response_body(body),
            Request::ResponseTrailers(_) => self.answers.push_back(answer::response_trailers()),
        }
        Ok(())
    }

    /// Responds to a body that takes too long, because other requests need its memory.
    fn end_collecting(&mut self) {
        let decision = match &mut self.task {
            Task::Route(routed) => routed.request_timeout(),
            Task::Classify(_) => Verdict::Unchanged.into(),
        };
        self.answers.extend(self.flow.decided(decision, None));
    }

    /// Responds to a message that cannot be read, because after an error Envoy may let the request bypass the
    /// policy. Either there is no memory left, or the message has more than the server reads: Envoy can send a
    /// body over its own limit if the bytes arrived before it knew that it must buffer them.
    fn refuse_body(&mut self, status: Status) -> Result<(), Status> {
        let enforces = self.enforces();
        let decision = match (&mut self.task, status.code()) {
            (Task::Route(routed), Code::OutOfRange) if self.flow.awaits_body() => {
                routed.request_progress(usize::MAX)
            }
            (Task::Route(routed), Code::ResourceExhausted) if self.flow.awaits_body() => {
                Some(routed.request_overload())
            }
            // Not even the headers arrived, so nothing is known about the request.
            (Task::Classify(_), Code::OutOfRange) if enforces && self.flow.awaits_body() => {
                Some(Verdict::Respond(LocalResponse::headers_too_large(Api::Openai)).into())
            }
            (Task::Classify(_), Code::ResourceExhausted) if enforces && self.flow.awaits_body() => {
                Some(Verdict::Respond(LocalResponse::overloaded(Api::Openai)).into())
            }
            _ => None,
        };
        let decision = decision.ok_or_else(|| status.clone())?;
        // The chunks that Envoy has streamed are lost, so the request cannot continue.
        if self.flow.is_collecting() && matches!(decision.verdict, Verdict::Unchanged) {
            return Err(status);
        }
        self.answers.extend(self.flow.decided(decision, None));
        self.is_over = true;
        Ok(())
    }

    /// Whether there is a policy that rejects requests.
    fn enforces(&self) -> bool {
        self.router.as_ref().is_some_and(|router| router.config().mode == Mode::Enforce)
    }

    fn begin(
        &mut self,
        headers: HttpHeaders,
        attributes: &HashMap<String, Struct>,
        metadata: Option<&Metadata>,
    ) {
        // Envoy's own span, if it has one, takes precedence over the client's.
        if self.trace.is_none() {
            self.trace = traces::parent(|name| request::header(&headers, name));
        }
        self.request_id = self.service.current().captured_id(|name| request::header(&headers, name));
        let (request, metadata) = match &self.router {
            Some(router) => {
                let metrics = Arc::clone(&self.metrics);
                let mut routed = Box::new(RoutedRequest::new(Arc::clone(router), metrics));
                let context = context::of_message(&router.config().context_keys, attributes, metadata);
                let begun = routed.request_headers(headers, context);
                self.task = Task::Route(routed);
                begun
            }
            None => {
                let endpoint = request::endpoint(&headers);
                let has_body = !headers.end_of_stream;
                self.task = Task::Classify(endpoint);
                let request = match endpoint {
                    Some(_) if has_body => OnRequest::Hold {
                        remove: Vec::new(),
                        announced: request::content_length(&headers),
                        read_response: false,
                    },
                    _ => OnRequest::Pass { remove: Vec::new(), has_body },
                };
                (request, None)
            }
        };
        self.answers.extend(self.flow.headers(request, metadata));
    }

    async fn carry_out(&mut self, next: Next, metadata: Option<Metadata>) -> Result<(), Status> {
        let answers = match next {
            Next::Answer(answers) => answers,
            Next::Missed(answers) => {
                self.metrics.body_missed();
                answers
            }
            Next::Check(length) => match self.too_long(length) {
                Some(decision) => self.flow.decided(decision, None),
                None => return Ok(()),
            },
            Next::Decide(body) => {
                let trace = traces::request(self.trace.as_ref());
                let decision = self.decide(body.clone(), metadata).with_context(trace.clone()).await;
                traces::end(&trace, &decision);
                let decision = match decision {
                    // After an error, Envoy would continue without the sidecar, and the chunks that it has
                    // streamed would be lost.
                    Err(_) if self.flow.is_collecting() => Verdict::Unchanged.into(),
                    decision => decision?,
                };
                self.flow.decided(decision, Some(body))
            }
        };
        self.answers.extend(answers);
        Ok(())
    }

    /// The decision on a request whose body has reached this length, if that exceeds the limit.
    fn too_long(&mut self, length: usize) -> Option<Decision> {
        match &mut self.task {
            Task::Route(routed) => routed.request_progress(length),
            Task::Classify(_) => (length > MAX_COLLECTED).then(|| Verdict::Unchanged.into()),
        }
    }

    async fn decide(&mut self, body: Bytes, metadata: Option<Metadata>) -> Result<Decision, Status> {
        let (service, large_bodies) = (self.service.current(), self.service.large_bodies());
        let id = self.request_id.as_deref();
        match &mut self.task {
            Task::Route(routed) => Ok(routed.request_body(&service, large_bodies, &body, id).await),
            Task::Classify(endpoint) => {
                service.classify(large_bodies, *endpoint, metadata, body, self.deadline, id).await
            }
        }
    }

    fn response_headers(&mut self, headers: HttpHeaders) {
        // Envoy itself responds with these codes if a body is too long or too slow.
        let is_rejected = matches!(request::header(&headers, ":status"), Some("408" | "413"));
        if self.flow.response_headers() && !is_rejected {
            self.metrics.body_missed();
        }
        self.answers.push_back(match &mut self.task {
            Task::Route(routed) => routed.response_headers(headers),
            Task::Classify(_) => answer::of(Response::ResponseHeaders(HeadersResponse::default())),
        });
    }

    fn response_body(&mut self, chunk: HttpBody) {
        if let Task::Route(routed) = &mut self.task {
            routed.response_body(&chunk);
        }
        if self.flow.modes().is_response_duplex() {
            self.answers.extend(answer::response_stream(chunk.body, chunk.end_of_stream));
        } else {
            self.answers.push_back(answer::of(Response::ResponseBody(BodyResponse::default())));
        }
    }
}

/// Warns the operator, once.
fn warn_of_response_mode() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::warn!(
            "with response_body_mode FULL_DUPLEX_STREAMED, Envoy ignores the request_body_mode that the sidecar asks for; see docs/native.md"
        );
    });
}

//! The filter that routes: reports a request's events to its [`Exchange`], and applies the effects.
//!
//! It holds the request's body itself: it takes each chunk out of Envoy's buffer as it arrives, and puts the rewritten body
//! there in pieces at the end. So Envoy buffers nothing, and its own limit does not apply.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use llm_router_filter_common::filter_state::FAILOVER;
use llm_router_routing::context::RequestContext;
use llm_router_routing::exchange::{
    Attempt, CallResult, Exchange, Forward, LocalResponse, OnBody, OnHeaders, OnResponse, ResponseHead,
};
use llm_router_routing::request::RequestHead;

use crate::abi::{BodyStatus, HeadersStatus};
use crate::clock;
use crate::context;
use crate::envoy::EnvoyFilter;
use crate::gateway::Gateway;
use crate::held_body::HeldBody;
use crate::recorder::Recorder;
use crate::sidecar_call::{Call, CallRequest};

/// One request.
///
/// Envoy may call a hook within a callback, so no part of this is borrowed during a call into Envoy.
#[derive(Debug)]
pub(crate) struct RouterFilter {
    gateway: Arc<Gateway>,
    exchange: RefCell<Exchange>,
    /// The body of a held request.
    body: RefCell<HeldBody>,
    call: RefCell<Option<Call>>,
    /// The context of a held request: the exchange has it, too, but may be lost in a panic.
    context: RefCell<RequestContext>,
    phase: Cell<Phase>,
}

/// The state of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It passes: it is not for an LLM, or the decision is made.
    Passing,
    /// Its headers are held until the body is complete.
    AwaitingBody,
    /// It is held, and its body is complete.
    Complete,
    /// It has its response.
    Responded,
}

/// In which hook the request is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// The request's body.
    Body,
    /// The request's trailers.
    Trailers,
    /// A hook of the call to the sidecar.
    Call,
}

/// Whether the request continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoOn,
    Stop,
}

impl RouterFilter {
    pub(crate) fn new(gateway: Arc<Gateway>) -> Self {
        Self {
            exchange: RefCell::new(Exchange::new(gateway.router())),
            gateway,
            body: RefCell::default(),
            call: RefCell::default(),
            context: RefCell::default(),
            phase: Cell::new(Phase::Passing),
        }
    }

    /// The request headers have arrived.
    pub(crate) fn request_headers(&self, envoy: &EnvoyFilter, end_of_stream: bool) -> HeadersStatus {
        let headers = envoy.request_headers();
        envoy.drill.read(&headers);
        envoy.drill.at("request_headers");
        let context = context::read(envoy, &self.gateway.config().context_keys);
        let (remove, then) = self.with_exchange(envoy, |exchange, recorder| {
            exchange.request_headers(headers, context, !end_of_stream, recorder)
        });
        for name in &remove {
            envoy.remove_request_header(name);
        }
        if !remove.is_empty() {
            // Envoy may have chosen a route by one of them.
            envoy.clear_route_cache();
        }
        match then {
            OnHeaders::Continue => HeadersStatus::Continue,
            OnHeaders::Hold => {
                let exchange = self.exchange.borrow();
                self.context.replace(exchange.context().cloned().unwrap_or_default());
                self.body.replace(HeldBody::new(exchange.announced_length()));
                self.phase.set(Phase::AwaitingBody);
                HeadersStatus::StopIteration
            }
            OnHeaders::Respond(response) => {
                self.respond(envoy, &response);
                HeadersStatus::StopIteration
            }
        }
    }

    /// A chunk of the request body has arrived.
    pub(crate) fn request_body(&self, envoy: &EnvoyFilter, end_of_stream: bool) -> BodyStatus {
        match self.phase.get() {
            Phase::Passing => return BodyStatus::Continue,
            Phase::Complete | Phase::Responded => return BodyStatus::StopIterationNoBuffer,
            Phase::AwaitingBody => {}
        }
        let mut body = self.body.take();
        envoy.take_request_chunk(&mut body);
        let length = body.bytes().len();
        self.body.replace(body);
        let progress =
            self.with_exchange(envoy, |exchange, recorder| exchange.request_progress(length, recorder));
        let then = match progress {
            Some(action) => self.carry_out(envoy, action, Hook::Body),
            None if end_of_stream => self.body_complete(envoy, Hook::Body),
            None => Then::Stop,
        };
        body_status(then)
    }

    /// The request's trailers have arrived, and so has all of its body.
    pub(crate) fn request_trailers(&self, envoy: &EnvoyFilter) -> HeadersStatus {
        let then = match self.phase.get() {
            Phase::Passing => Then::GoOn,
            Phase::Complete | Phase::Responded => Then::Stop,
            Phase::AwaitingBody => self.body_complete(envoy, Hook::Trailers),
        };
        headers_status(then)
    }

    /// The response headers of an LLM, or of Envoy itself, have arrived.
    pub(crate) fn response_headers(&self, envoy: &EnvoyFilter) {
        let (is_forwarded, may_fail_over) = {
            let exchange = self.exchange.borrow();
            (exchange.is_forwarded(), exchange.config().failover)
        };
        let content_type = if is_forwarded { envoy.content_type() } else { None };
        let first = Attempt { number: 1, cluster: None };
        let attempt = if is_forwarded && may_fail_over { envoy.attempt() } else { first };
        // Encoded responses are recognized by their first byte.
        let head = ResponseHead { content_type: content_type.as_deref(), is_encoded: false };
        let then = self
            .with_exchange(envoy, |exchange, recorder| exchange.response_headers(head, || attempt, recorder));
        match then {
            OnResponse::Continue => {}
            OnResponse::Explain(explanation) => {
                for (name, value) in explanation.headers() {
                    envoy.set_response_header(name, &value);
                }
            }
            OnResponse::CancelCall => self.cancel_call(envoy),
        }
    }

    /// A chunk of the response body has arrived.
    pub(crate) fn response_body(&self, envoy: &EnvoyFilter, end_of_stream: bool) {
        let is_read = self.exchange.borrow().reads_response();
        if is_read {
            let chunks = envoy.response_chunks();
            self.with_exchange(envoy, |exchange, recorder| {
                chunks.iter().for_each(|chunk| exchange.response_chunk(chunk, clock::now, recorder));
            });
        }
        if end_of_stream {
            self.response_end(envoy);
        }
    }

    /// The response has ended.
    pub(crate) fn response_end(&self, envoy: &EnvoyFilter) {
        self.with_exchange(envoy, |exchange, recorder| exchange.response_end(recorder));
    }

    /// A header or a trailer of a stream to the sidecar.
    pub(crate) fn call_header(&self, stream: u64, name: &[u8], value: &[u8]) {
        self.with_call(stream, |call| call.header(name, value));
    }

    /// A piece of the body of a stream to the sidecar.
    pub(crate) fn call_data(&self, stream: u64, piece: &[u8]) {
        self.with_call(stream, |call| call.data(piece));
    }

    /// A stream to the sidecar has ended.
    pub(crate) fn call_ended(&self, envoy: &EnvoyFilter, stream: u64, was_reset: bool) {
        self.with_call(stream, |call| call.ended(was_reset));
        // While Envoy is still starting the stream, `call_sidecar` reads the result.
        let has_ended = self.call.borrow().as_ref().is_some_and(|call| call.stream() == Some(stream));
        if has_ended && let Some(result) = self.take_result() {
            let action = self.classified(envoy, result);
            self.resume(envoy, action);
        }
    }

    /// The request is over: it has its response, or the client disconnected. Envoy resets a stream in
    /// progress.
    pub(crate) fn finish(&self, envoy: &EnvoyFilter) {
        let mut recorder = Recorder::after_the_end(&self.gateway);
        self.exchange.borrow_mut().finish(&mut recorder);
        recorder.hand_over(envoy);
        self.call.take();
        self.body.take();
    }

    /// A hook of the request panicked: decides again as if the classifier were unavailable, so the policy's `on_failure`
    /// applies. A request whose body is not complete gets a 500.
    pub(crate) fn recover_request(&self, envoy: &EnvoyFilter, hook: Hook) -> BodyStatus {
        self.cancel_call(envoy);
        if self.phase.get() != Phase::Complete {
            self.fail(envoy);
            return BodyStatus::StopIterationNoBuffer;
        }
        self.exchange.replace(Exchange::new(self.gateway.router()));
        let headers = envoy.request_headers();
        let context = self.context.take();
        let action = self.with_exchange(envoy, |exchange, recorder| {
            let body = self.body.borrow();
            exchange.request_headers(headers, context, true, recorder);
            let mut action = exchange.request_body(body.bytes(), clock::now(), recorder);
            while action == OnBody::Classify {
                action = exchange.classified(CallResult::NotCalled, || body.bytes(), clock::now(), recorder);
            }
            action
        });
        match hook {
            Hook::Call => {
                self.resume(envoy, action);
                BodyStatus::StopIterationNoBuffer
            }
            Hook::Body | Hook::Trailers => body_status(self.carry_out(envoy, action, hook)),
        }
    }

    /// Responds to a request whose state was lost.
    pub(crate) fn fail(&self, envoy: &EnvoyFilter) {
        if self.phase.replace(Phase::Responded) != Phase::Responded {
            let api = RequestHead::new(envoy.request_headers()).api();
            self.respond(envoy, &LocalResponse::internal_error(api));
        }
    }

    /// The whole body has arrived.
    fn body_complete(&self, envoy: &EnvoyFilter, hook: Hook) -> Then {
        self.phase.set(Phase::Complete);
        let action = self.with_exchange(envoy, |exchange, recorder| {
            envoy.drill.at("deciding");
            exchange.request_body(self.body.borrow().bytes(), clock::now(), recorder)
        });
        self.carry_out(envoy, action, hook)
    }

    /// Applies the exchange's action. Reports calls that fail at once to the exchange.
    fn carry_out(&self, envoy: &EnvoyFilter, mut action: OnBody, hook: Hook) -> Then {
        loop {
            action = match action {
                OnBody::Continue => {
                    self.phase.set(Phase::Passing);
                    let body = self.body.take();
                    put_body(envoy, [body.bytes()], body.bytes().len(), hook);
                    return Then::GoOn;
                }
                OnBody::Forward(forward) => {
                    self.phase.set(Phase::Passing);
                    self.forward(envoy, &forward, hook);
                    return Then::GoOn;
                }
                OnBody::Respond(response) => {
                    self.respond(envoy, &response);
                    return Then::Stop;
                }
                OnBody::Classify => match self.call_sidecar(envoy) {
                    None => return Then::Stop,
                    Some(result) => self.classified(envoy, result),
                },
            };
        }
    }

    /// Applies an action outside of the request's own hooks.
    fn resume(&self, envoy: &EnvoyFilter, action: OnBody) {
        if self.phase.get() == Phase::Complete && self.carry_out(envoy, action, Hook::Call) == Then::GoOn {
            envoy.continue_decoding();
        }
    }

    /// Turns the held request into the request for the chosen model.
    fn forward(&self, envoy: &EnvoyFilter, forward: &Forward, hook: Hook) {
        let body = self.body.take();
        for (name, value) in &forward.headers {
            envoy.set_request_header(name, value);
        }
        if let Some(failover) = &forward.failover {
            envoy.set_filter_state(FAILOVER, &failover.to_json());
        }
        // Envoy chose a route before there was a decision.
        envoy.clear_route_cache();
        put_body(envoy, forward.body.pieces(body.bytes()), forward.body.len(), hook);
    }

    fn respond(&self, envoy: &EnvoyFilter, response: &LocalResponse) {
        self.phase.set(Phase::Responded);
        self.body.take();
        envoy.send_response(response.status, &response.headers, &response.body, response.details);
    }

    /// Starts a call to the sidecar. Returns its result if it ended at once.
    fn call_sidecar(&self, envoy: &EnvoyFilter) -> Option<CallResult> {
        let request = {
            let exchange = self.exchange.borrow();
            CallRequest::new(&exchange.query()?, &self.gateway.encoder, &self.gateway.authority)
        };
        self.call.replace(Some(Call::default()));
        match request.send(&self.gateway.config().sidecar.cluster, envoy) {
            Ok(stream) => {
                if let Some(call) = self.call.borrow_mut().as_mut() {
                    call.started(stream);
                }
                self.take_result()
            }
            Err(problem) => {
                self.call.take();
                self.gateway.warn(|| format!("the sidecar cannot be called: {problem}"));
                Some(CallResult::NotCalled)
            }
        }
    }

    /// The result of a call that has ended.
    fn take_result(&self) -> Option<CallResult> {
        let call = self.call.borrow_mut().take_if(|call| call.has_ended())?;
        let exchange = self.exchange.borrow();
        let Some(query) = exchange.query() else { return Some(CallResult::Unavailable) };
        Some(call.result(&query, |failure| self.gateway.warn(|| failure.to_string())))
    }

    fn classified(&self, envoy: &EnvoyFilter, result: CallResult) -> OnBody {
        let lacks_examples = result == CallResult::UnknownExamples;
        let action = self.with_exchange(envoy, |exchange, recorder| {
            envoy.drill.at("classified");
            let body = self.body.borrow();
            exchange.classified(result, || body.bytes(), clock::now(), recorder)
        });
        if lacks_examples && action != OnBody::Classify {
            self.gateway.warn(|| {
                "the sidecar does not know the policy's examples, and there is no time left to send them"
                    .to_owned()
            });
        }
        action
    }

    fn cancel_call(&self, envoy: &EnvoyFilter) {
        let call = self.call.take();
        if let Some(stream) = call.and_then(|call| call.stream()) {
            envoy.reset_stream(stream);
        }
    }

    fn with_call(&self, stream: u64, change: impl FnOnce(&mut Call)) {
        if let Some(call) = self.call.borrow_mut().as_mut().filter(|call| call.is_about(stream)) {
            change(call);
        }
    }

    /// Reports something to the exchange, and passes the events that it records to Envoy.
    fn with_exchange<T>(
        &self,
        envoy: &EnvoyFilter,
        report: impl FnOnce(&mut Exchange, &mut Recorder<'_>) -> T,
    ) -> T {
        let mut recorder = Recorder::new(&self.gateway);
        let result = report(&mut self.exchange.borrow_mut(), &mut recorder);
        recorder.hand_over(envoy);
        result
    }
}

/// Passes the whole body to the filter chain.
fn put_body<'b>(envoy: &EnvoyFilter, pieces: impl IntoIterator<Item = &'b [u8]>, length: usize, hook: Hook) {
    envoy.allow_body(length);
    for piece in pieces {
        envoy.append_request_body(piece, hook == Hook::Body);
    }
}

fn body_status(then: Then) -> BodyStatus {
    match then {
        Then::GoOn => BodyStatus::Continue,
        Then::Stop => BodyStatus::StopIterationNoBuffer,
    }
}

fn headers_status(then: Then) -> HeadersStatus {
    match then {
        Then::GoOn => HeadersStatus::Continue,
        Then::Stop => HeadersStatus::StopIteration,
    }
}

//! The filter that routes: reports a request's events to its [`Exchange`], and applies the effects.

use std::rc::Rc;

use llm_router_filter_common::correlation;
use llm_router_filter_common::filter_state::FAILOVER;
use llm_router_filter_common::response::Failure;
use llm_router_routing::exchange::{
    Attempt, CallResult, Exchange, Forward, LocalResponse, OnBody, OnHeaders, OnResponse, ResponseHead,
};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, Status};

use crate::body::{BodyCopy, BufferedBody};
use crate::context;
use crate::host::{self, CallId, RequestHeaders};
use crate::sidecar_client;
use crate::worker::Worker;

/// One request.
pub(crate) struct RouterFilter {
    worker: Rc<Worker>,
    exchange: Exchange,
    body: BufferedBody,
    /// The call to the sidecar in progress.
    call: Option<CallId>,
    /// The body, while it is decided on; while the sidecar is called only if it is small: reading it from Envoy again would
    /// cost more.
    copy: Option<BodyCopy>,
    /// Whether the body is complete by its announced length, and Envoy has yet to report the request's end.
    awaits_end: bool,
    /// The response that waits for that end.
    response: Option<LocalResponse>,
}

impl RouterFilter {
    pub(crate) fn new(worker: Rc<Worker>) -> Self {
        let exchange = Exchange::new(worker.router());
        Self {
            worker,
            exchange,
            body: BufferedBody::default(),
            call: None,
            copy: None,
            awaits_end: false,
            response: None,
        }
    }

    /// The whole body is in Envoy's buffer.
    fn body_complete(&mut self) -> Action {
        let body = self.body.copy();
        let action = self.exchange.request_body(body.bytes(), host::now(), &mut self.worker.recorder());
        self.copy = Some(body);
        self.carry_out(action)
    }

    /// Applies the effects of the exchange. Reports calls that fail at once to the exchange.
    fn carry_out(&mut self, mut action: OnBody) -> Action {
        loop {
            action = match action {
                OnBody::Continue => {
                    self.copy = None;
                    self.body.restore();
                    return Action::Continue;
                }
                OnBody::Forward(forward) => {
                    let copy = self.copy.take();
                    self.body.rewrite(&forward.body, copy.as_ref());
                    send_on(&forward);
                    return Action::Continue;
                }
                OnBody::Respond(response) => {
                    self.copy = None;
                    return self.respond(response);
                }
                OnBody::Classify => match self.call_sidecar() {
                    Ok(call) => {
                        self.body.reserve();
                        self.copy = self.copy.take().and_then(BodyCopy::if_small);
                        self.call = call;
                        return Action::Pause;
                    }
                    Err(status) => {
                        let problem = format_args!("the sidecar cannot be called: {status:?}");
                        self.worker.warn(|| problem.to_string());
                        self.classified(CallResult::NotCalled)
                    }
                },
            };
        }
    }

    fn call_sidecar(&self) -> Result<Option<CallId>, Status> {
        let Some(query) = self.exchange.query() else { return Ok(None) };
        self.worker.sidecar.classify(&query, correlation::headers(query.head.headers())).map(Some)
    }

    /// Responds once the whole request has arrived: Envoy closes an HTTP/1 connection if a response comes before the
    /// request's end.
    fn respond(&mut self, response: LocalResponse) -> Action {
        if self.awaits_end {
            self.response = Some(response);
            return Action::Pause;
        }
        respond(&response)
    }

    /// The request has ended. Returns the action, if a response waited for the end.
    fn request_end(&mut self) -> Option<Action> {
        self.awaits_end = false;
        self.response.take().map(|response| respond(&response))
    }

    /// The call has ended.
    fn classified(&mut self, result: CallResult) -> OnBody {
        let (body, copy) = (&self.body, &mut self.copy);
        self.exchange.classified(
            result,
            move || &*copy.get_or_insert_with(|| body.copy()),
            host::now(),
            &mut self.worker.recorder(),
        )
    }

    fn result(&self, status: u32, size: usize) -> CallResult {
        let Some(query) = self.exchange.query() else { return CallResult::Unavailable };
        let warn = |failure: Failure| self.worker.warn(|| failure.to_string());
        sidecar_client::response(status, size, &query, warn).unwrap_or_else(|failure| {
            warn(failure);
            CallResult::Unavailable
        })
    }

    fn cancel_call(&mut self) {
        if let Some(call) = self.call.take() {
            call.cancel();
        }
    }

    /// The request is over: cancels the call to the sidecar.
    fn finish(&mut self) {
        self.exchange.finish(&mut self.worker.final_recorder());
        self.cancel_call();
    }

    /// Whether the request may continue.
    fn action(&self) -> Action {
        if self.exchange.is_held() || self.exchange.is_over() { Action::Pause } else { Action::Continue }
    }
}

/// Turns the held request into the request for the chosen model.
fn send_on(forward: &Forward) {
    for (name, value) in &forward.headers {
        RequestHeaders.set(name, value);
    }
    if let Some(failover) = &forward.failover {
        host::set_filter_state(FAILOVER, &failover.to_json());
    }
}

fn respond(response: &LocalResponse) -> Action {
    host::respond(response.status, response.headers.clone(), &response.body);
    Action::Pause
}

fn attempt() -> Attempt {
    Attempt { number: host::attempt(), cluster: host::cluster() }
}

impl HttpContext for RouterFilter {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        let headers = RequestHeaders.get_all();
        let context = context::read(&self.exchange.config().context_keys);
        let (remove, then) =
            self.exchange.request_headers(headers, context, !end_of_stream, &mut self.worker.recorder());
        for name in &remove {
            RequestHeaders.remove(name);
        }
        match then {
            OnHeaders::Continue => Action::Continue,
            OnHeaders::Hold => {
                self.body = BufferedBody::new(self.worker.headroom, self.exchange.announced_length());
                self.worker.body_watchdog.awaited(host::now);
                Action::Pause
            }
            OnHeaders::Respond(response) => respond(&response),
        }
    }

    fn on_http_request_body(&mut self, buffered: usize, end_of_stream: bool) -> Action {
        self.worker.body_watchdog.came();
        if end_of_stream && let Some(action) = self.request_end() {
            return action;
        }
        // Drops bytes after the announced length. Envoy lets none through, but an LLM must never take one for
        // its next request.
        if self.exchange.is_forwarded() && buffered > 0 {
            host::set_request_body(&[]);
            return Action::Continue;
        }
        if !self.exchange.is_held() || self.call.is_some() {
            return self.action();
        }
        let length = self.body.length(buffered);
        if let Some(action) = self.exchange.request_progress(length, &mut self.worker.recorder()) {
            return self.carry_out(action);
        }
        if !self.body.on_chunk(length, end_of_stream) {
            return Action::Pause;
        }
        self.awaits_end = !end_of_stream;
        self.body_complete()
    }

    /// Envoy does not report the end of a body that trailers follow.
    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        if let Some(action) = self.request_end() {
            return action;
        }
        if !self.exchange.is_held() || self.call.is_some() {
            return self.action();
        }
        self.body_complete()
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let content_type = self.exchange.is_forwarded().then(|| host::response_header("content-type"));
        let content_type = content_type.flatten().and_then(|value| String::from_utf8(value).ok());
        // Encoded responses are recognized by their first byte, which costs less than to ask Envoy for
        // another header.
        let head = ResponseHead { content_type: content_type.as_deref(), is_encoded: false };
        match self.exchange.response_headers(head, attempt, &mut self.worker.recorder()) {
            OnResponse::Continue => {}
            OnResponse::Explain(explanation) => {
                for (name, value) in explanation.headers() {
                    host::set_response_header(name, &value);
                }
            }
            OnResponse::CancelCall => self.cancel_call(),
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if size > 0 && self.exchange.reads_response() {
            let chunk = host::response_chunk(size);
            self.exchange.response_chunk(&chunk, host::now, &mut self.worker.recorder());
        }
        if end_of_stream {
            self.exchange.response_end(&mut self.worker.recorder());
        }
        Action::Continue
    }

    /// Envoy calls it before `on_done`, even if the client disconnected.
    fn on_log(&mut self) {
        self.finish();
    }
}

impl Context for RouterFilter {
    fn on_grpc_call_response(&mut self, token: u32, status: u32, size: usize) {
        if self.call.take_if(|call| call.is(token)).is_none() {
            return;
        }
        let result = self.result(status, size);
        let lacks_examples = result == CallResult::UnknownExamples;
        let action = self.classified(result);
        if lacks_examples && action != OnBody::Classify {
            let problem =
                "the sidecar does not know the policy's examples, and there is no time left to send them";
            self.worker.warn(|| problem.to_string());
        }
        if self.carry_out(action) == Action::Continue {
            host::resume_request();
        }
    }

    fn on_done(&mut self) -> bool {
        self.finish();
        true
    }
}

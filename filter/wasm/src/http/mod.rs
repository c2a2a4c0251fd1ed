//! One request on its way through the filter: its [`head`], the [`plan`] once its body is there, perhaps a time of
//! [`waiting`] for the sidecar, the [`route`] that it takes, and the [`response`].

pub(crate) mod head;
mod plan;
mod response;
mod route;
mod waiting;

use std::mem;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::host;
use crate::root::Shared;
use head::Head;
use response::Routed;
use waiting::Waiting;

/// A request's context.
pub(crate) struct Http {
    shared: Rc<Shared>,
    phase: Phase,
}

/// How far a request has come. Its headers are held, and may be changed, while it is `Reading` or `Waiting`.
enum Phase {
    /// Not a request to route, or it goes on as the client sent it.
    Untouched,
    /// The body is being buffered by Envoy.
    Reading(Head),
    /// The sidecar was asked.
    Waiting(Waiting),
    /// It went on, to the LLM that was chosen; or, in shadow, to the one that the client chose.
    Routed(Routed),
    /// It was answered here.
    Refused,
}

impl Http {
    pub(crate) fn new(shared: Rc<Shared>) -> Self {
        Self { shared, phase: Phase::Untouched }
    }

    fn body_complete(&mut self) -> Action {
        match mem::replace(&mut self.phase, Phase::Untouched) {
            Phase::Reading(head) => self.plan(head).unwrap_or_else(|refusal| self.refuse(&refusal)),
            other => {
                self.phase = other;
                self.action()
            }
        }
    }

    /// Whether the request may go on as it stands.
    fn action(&self) -> Action {
        match self.phase {
            Phase::Untouched | Phase::Routed(_) => Action::Continue,
            Phase::Reading(_) | Phase::Waiting(_) | Phase::Refused => Action::Pause,
        }
    }

    /// Ends the request's way through the router, and spares the sidecar work that nobody waits for.
    fn give_up(&mut self) {
        match mem::replace(&mut self.phase, Phase::Refused) {
            Phase::Waiting(waiting) => waiting.call.cancel(),
            Phase::Reading(_) | Phase::Refused => {}
            other @ (Phase::Untouched | Phase::Routed(_)) => self.phase = other,
        }
    }
}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        match self.read_headers(end_of_stream) {
            Ok(phase) => {
                self.phase = phase;
                if let Phase::Reading(_) = self.phase {
                    self.shared.first_body.awaited(host::now);
                }
                self.action()
            }
            Err(refusal) => self.refuse(&refusal),
        }
    }

    fn on_http_request_body(&mut self, buffered: usize, end_of_stream: bool) -> Action {
        self.shared.first_body.came();
        let max_body = self.shared.config.limits.max_body;
        match &mut self.phase {
            Phase::Reading(head) => match head.body.piece(buffered, end_of_stream, max_body) {
                Ok(true) => self.body_complete(),
                Ok(false) => Action::Pause,
                Err(refusal) => self.refuse(&refusal),
            },
            // Past the length that was announced: Envoy lets no such byte through, and an LLM must not take one for its
            // next request.
            Phase::Routed(_) if buffered > 0 => {
                host::set_request_body(&[]);
                Action::Continue
            }
            _ => self.action(),
        }
    }

    /// A body with trailers never says that it ends.
    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        self.body_complete()
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        match &mut self.phase {
            Phase::Routed(routed) => routed.headers(&self.shared),
            Phase::Untouched | Phase::Refused => {}
            // Envoy answers the request itself: the body is over its limit, or time is up. Nothing of the request may be
            // touched any more.
            Phase::Reading(_) | Phase::Waiting(_) => self.give_up(),
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if let Phase::Routed(routed) = &mut self.phase {
            routed.body(size, &self.shared.stats);
            if end_of_stream && self.shared.config.filter_state {
                routed.tell_usage();
            }
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        if let Phase::Routed(routed) = mem::replace(&mut self.phase, Phase::Refused) {
            routed.done(&self.shared);
        }
    }
}

impl Context for Http {
    fn on_grpc_call_response(&mut self, token: u32, status: u32, size: usize) {
        match mem::replace(&mut self.phase, Phase::Untouched) {
            Phase::Waiting(waiting) if waiting.call.is(token) => self.answered(waiting, status, size),
            other => self.phase = other,
        }
    }

    /// Perhaps the client left while the sidecar was thinking.
    fn on_done(&mut self) -> bool {
        self.give_up();
        true
    }
}

//! One request on its way through the filter.

use std::mem;
use std::rc::Rc;
use std::sync::Arc;

use llm_router_routing::config::Policy;
use llm_router_routing::decision::Decision;
use llm_router_routing::headers;
use llm_router_routing::refusal::Refusal;
use llm_router_routing::request::{Endpoint, Request};
use llm_router_routing::rewrite::Rewrite;
use llm_router_routing::router::{NoClassification, Plan, Router};
use log::{debug, warn};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::classifier;
use crate::host::{self, CallId, RequestHeaders};

/// Kept free in front of a body from its first piece on, and used up when the model's name is replaced by a longer
/// one. Envoy answers 413 at once when a filter makes the buffered body larger than its limit; that answer enters the
/// VM while it runs, which traps it, and then Envoy crashes.
const ROOM: [u8; 2048] = [b' '; 2048];

/// A request's context.
pub(crate) struct Http {
    router: Rc<Router>,
    phase: Phase,
}

/// How far a request has come. Its headers are held, and may be changed, while it is `Reading` or `Waiting`.
enum Phase {
    /// Not a request to route, or it goes on as the client sent it.
    Untouched,
    /// The body is being buffered by Envoy.
    Reading(Head),
    /// The sidecar was asked. The body stays in Envoy's buffer only: a VM's memory never shrinks again.
    Waiting(Waiting),
    /// It went on to an LLM.
    Routed(Decision),
    /// It was answered here.
    Refused,
}

/// What is kept of the request's headers.
struct Head {
    has_room: bool,
    endpoint: Endpoint,
    policy: Option<String>,
    has_content_length: bool,
}

struct Waiting {
    call: CallId,
    policy: Arc<Policy>,
    rewrite: Rewrite,
    has_content_length: bool,
}

impl Http {
    pub(crate) fn new(router: Rc<Router>) -> Self {
        Self { router, phase: Phase::Untouched }
    }

    /// Takes the router's headers from the client's, and reads those that matter.
    fn read_headers(&self, end_of_stream: bool) -> Result<Phase, Refusal> {
        let config = self.router.config();
        let all = RequestHeaders.get_all();
        for (name, _) in all.iter().filter(|(name, _)| headers::is_own(name, &config.cluster_header)) {
            RequestHeaders.remove(name);
        }
        let text = |wanted: &str| {
            let value = all.iter().find(|(name, _)| name == wanted).map(|(_, value)| value)?;
            std::str::from_utf8(value).ok()
        };
        let endpoint = text(":path").and_then(Endpoint::from_path);
        let Some(endpoint) = endpoint.filter(|_| text(":method") == Some("POST") && !end_of_stream) else {
            return Ok(Phase::Untouched);
        };
        if let Some(encoding) = text("content-encoding").filter(|encoding| *encoding != "identity") {
            return Err(Refusal::unsupported_encoding(encoding));
        }
        let content_length = text("content-length");
        self.check_size(content_length.and_then(|length| length.parse().ok()).unwrap_or(0))?;
        Ok(Phase::Reading(Head {
            has_room: false,
            endpoint,
            policy: text(headers::POLICY).map(str::to_owned),
            has_content_length: content_length.is_some(),
        }))
    }

    fn check_size(&self, body: usize) -> Result<(), Refusal> {
        let max_body = self.router.config().limits.max_body;
        if body > max_body { Err(Refusal::body_too_large(max_body)) } else { Ok(()) }
    }

    /// Plans the request, now that all of its body is there.
    fn plan(&mut self, head: Head) -> Result<Action, Refusal> {
        let buffered = host::request_body();
        let body = buffered.get(ROOM.len()..).unwrap_or_default();
        self.check_size(body.len())?;
        let request = Request::parse(head.endpoint, body)?;
        let (decision, rewrite) = match self.router.plan(&request, head.policy.as_deref())? {
            Plan::Passthrough => {
                host::set_request_body(body);
                self.phase = Phase::Untouched;
                return Ok(Action::Continue);
            }
            Plan::Route(decision) => (decision, request.into_rewrite()),
            Plan::Classify { policy, text } => {
                let rewrite = request.into_rewrite();
                match classifier::ask(&self.router.config().sidecar, &policy.classifier, &text) {
                    Ok(call) => {
                        let has_content_length = head.has_content_length;
                        self.phase = Phase::Waiting(Waiting { call, policy, rewrite, has_content_length });
                        return Ok(Action::Pause);
                    }
                    Err(status) => {
                        warn!("the sidecar cannot be called: {status:?}");
                        (self.router.decide(policy, Err(NoClassification))?, rewrite)
                    }
                }
            }
        };
        self.route(decision, &rewrite, body, head.has_content_length)?;
        Ok(Action::Continue)
    }

    /// Makes of the held request the one that the chosen LLM gets.
    fn route(
        &mut self,
        decision: Decision,
        rewrite: &Rewrite,
        body: &[u8],
        has_content_length: bool,
    ) -> Result<(), Refusal> {
        if rewrite.growth(&decision.model.upstream) > ROOM.len() {
            return Err(Refusal::invalid(Some("model"), "model is given too often"));
        }
        let rewritten = rewrite.apply(body, &decision.model.upstream);
        host::set_request_body(&rewritten);
        if has_content_length {
            RequestHeaders.set("content-length", &rewritten.len().to_string());
        }
        RequestHeaders.set(&self.router.config().cluster_header, &decision.model.cluster);
        debug!("routed to {}: {}", decision.model.name, decision.reason);
        self.phase = Phase::Routed(decision);
        Ok(())
    }

    fn refuse(&mut self, refusal: &Refusal) -> Action {
        debug!("refused: {}", refusal.code());
        self.phase = Phase::Refused;
        host::respond(refusal.status(), refusal.headers(), &refusal.body());
        Action::Pause
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
}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        match self.read_headers(end_of_stream) {
            Ok(phase) => {
                self.phase = phase;
                self.action()
            }
            Err(refusal) => self.refuse(&refusal),
        }
    }

    fn on_http_request_body(&mut self, buffered: usize, end_of_stream: bool) -> Action {
        let mut body = buffered.saturating_sub(ROOM.len());
        if let Phase::Reading(head) = &mut self.phase
            && !mem::replace(&mut head.has_room, true)
        {
            host::prepend_to_request_body(&ROOM);
            body = buffered;
        }
        if end_of_stream {
            return self.body_complete();
        }
        if let (Phase::Reading(_), Err(refusal)) = (&self.phase, self.check_size(body)) {
            return self.refuse(&refusal);
        }
        self.action()
    }

    /// A body with trailers never says that it ends.
    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        self.body_complete()
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        match mem::replace(&mut self.phase, Phase::Refused) {
            Phase::Routed(decision) => {
                for (name, value) in decision.response_headers() {
                    host::set_response_header(name, &value);
                }
                self.phase = Phase::Routed(decision);
            }
            Phase::Untouched => self.phase = Phase::Untouched,
            // Envoy answers the request itself: the body is over its limit, or time is up. Nothing of the request may
            // be touched any more.
            Phase::Waiting(waiting) => waiting.call.cancel(),
            Phase::Reading(_) | Phase::Refused => {}
        }
        Action::Continue
    }
}

impl Context for Http {
    fn on_grpc_call_response(&mut self, token: u32, status: u32, size: usize) {
        match mem::replace(&mut self.phase, Phase::Untouched) {
            Phase::Waiting(waiting) if waiting.call.is(token) => {
                let answer = classifier::answer(status, size, &waiting.policy.classifier);
                let routed = self.router.decide(waiting.policy, answer).and_then(|decision| {
                    let buffered = host::request_body();
                    let body = buffered.get(ROOM.len()..).unwrap_or_default();
                    self.route(decision, &waiting.rewrite, body, waiting.has_content_length)
                });
                match routed {
                    Ok(()) => host::resume_request(),
                    Err(refusal) => {
                        self.refuse(&refusal);
                    }
                }
            }
            other => self.phase = other,
        }
    }

    /// The client left while the sidecar was thinking: spare it the work.
    fn on_done(&mut self) -> bool {
        if let Phase::Waiting(waiting) = mem::replace(&mut self.phase, Phase::Refused) {
            waiting.call.cancel();
        }
        true
    }
}

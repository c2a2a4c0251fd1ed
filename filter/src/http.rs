//! One request on its way through the filter.

use std::mem;
use std::rc::Rc;
use std::time::Duration;

use llm_router_routing::admission::{Admission, admit};
use llm_router_routing::config::Mode;
use llm_router_routing::decision::{Decision, Reason};
use llm_router_routing::headers;
use llm_router_routing::model_list;
use llm_router_routing::refusal::Refusal;
use llm_router_routing::request::{Endpoint, Request};
use llm_router_routing::rewrite::Rewrite;
use llm_router_routing::router::{Answer, Client, Pending, Plan};
use log::debug;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, Status};

use crate::access_log;
use crate::body::Body;
use crate::classifier::{self, Teach};
use crate::host::{self, CallId, RequestHeaders};
use crate::response::Routed;
use crate::root::Shared;

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

/// What is kept of the request's headers.
struct Head {
    endpoint: Endpoint,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    has_content_length: bool,
    body: Body,
}

struct Waiting {
    head: Head,
    call: CallId,
    told: Teach,
    since: Duration,
    pending: Pending,
    rewrite: Rewrite,
}

impl Http {
    pub(crate) fn new(shared: Rc<Shared>) -> Self {
        Self { shared, phase: Phase::Untouched }
    }

    /// Takes the router's headers from the client's, and reads those that matter.
    fn read_headers(&self, end_of_stream: bool) -> Result<Phase, Refusal> {
        let headers = RequestHeaders.get_all();
        for (name, _) in
            headers.iter().filter(|(name, _)| headers::is_own(name, &self.shared.config.cluster_header))
        {
            RequestHeaders.remove(name);
        }
        let client = Client { path: "", headers: &headers };
        let endpoint = match admit(&self.shared.config, &client, !end_of_stream)? {
            Admission::Prompt(endpoint) => endpoint,
            Admission::Untouched => return Ok(Phase::Untouched),
            Admission::ModelList => {
                let json = [("content-type", "application/json")].to_vec();
                host::respond(200, json, &model_list::to_json(&self.shared.config));
                return Ok(Phase::Refused);
            }
        };
        let content_length = client.header("content-length");
        let announced = content_length.and_then(|length| length.parse().ok());
        Ok(Phase::Reading(Head {
            endpoint,
            path: client.header(":path").unwrap_or_default().to_owned(),
            has_content_length: content_length.is_some(),
            body: Body::new(self.shared.room, announced),
            headers,
        }))
    }

    fn max_body(&self) -> usize {
        self.shared.config.limits.max_body
    }

    fn in_shadow(&self) -> bool {
        self.shared.config.mode == Mode::Shadow
    }

    /// Plans the request, now that all of its body is there.
    fn plan(&mut self, mut head: Head) -> Result<Action, Refusal> {
        let now = host::now();
        let body = head.body.read();
        let request = Request::parse(head.endpoint, body.bytes())?;
        let client = Client { path: &head.path, headers: &head.headers };
        let plan = self.shared.router.borrow_mut().plan(&request, &client, now)?;
        let (decision, rewrite) = match plan {
            Plan::Passthrough => {
                body.restore();
                return Ok(Action::Continue);
            }
            Plan::Route(decision) => {
                // Without a call to the sidecar, only the cache knows what it says.
                if decision.classification.is_some() {
                    self.shared.stats.cache_hit();
                }
                (decision, request.into_rewrite())
            }
            Plan::Classify(pending) => {
                let rewrite = request.into_rewrite();
                if self.shared.config.cache.is_some() {
                    self.shared.stats.cache_miss();
                }
                let told = Teach::Digest;
                match self.ask(&pending, told, self.shared.config.sidecar.timeout) {
                    Ok(call) => {
                        head.body.make_room();
                        self.phase =
                            Phase::Waiting(Waiting { head, call, told, since: now, pending, rewrite });
                        return Ok(Action::Pause);
                    }
                    Err(status) => {
                        let problem = format_args!("the sidecar cannot be called: {status:?}");
                        self.shared.warnings.warn(now, problem);
                        let decision = self.shared.router.borrow_mut().decide(&pending, Answer::None, now)?;
                        (decision, rewrite)
                    }
                }
            }
        };
        self.route(decision, &head, &rewrite, body.bytes(), now);
        Ok(Action::Continue)
    }

    fn ask(&self, pending: &Pending, teach: Teach, limit: Duration) -> Result<CallId, Status> {
        let cluster = &self.shared.config.sidecar.cluster;
        classifier::ask(cluster, &pending.policy.classifier, &pending.text, teach, limit)
    }

    /// Asks once more, with the examples, in what is left of the time.
    fn teach(&self, waiting: &Waiting) -> Option<CallId> {
        let asked_for = host::now().saturating_sub(waiting.since);
        let left = self.shared.config.sidecar.timeout.saturating_sub(asked_for);
        // Envoy counts in milliseconds, and takes 0 for no limit.
        if left.as_millis() == 0 {
            return None;
        }
        self.ask(&waiting.pending, Teach::Examples, left).ok()
    }

    /// Makes of the held request the one that the chosen LLM gets; in shadow, only tells of it.
    fn route(&mut self, mut decision: Decision, head: &Head, rewrite: &Rewrite, body: &[u8], now: Duration) {
        if self.in_shadow() {
            decision.reason = Reason::Shadow;
        } else {
            self.rewrite(&decision, head, rewrite, body);
        }
        debug!("routed to {}: {}", decision.model.name, decision.reason);
        self.shared.stats.routed(&decision);
        if self.shared.config.filter_state {
            access_log::tell_decision(&decision);
        }
        self.phase = Phase::Routed(Routed::new(decision, now));
    }

    fn rewrite(&self, decision: &Decision, head: &Head, rewrite: &Rewrite, body: &[u8]) {
        let model = &decision.model;
        let rewritten = rewrite.apply(body, &model.upstream);
        host::set_request_body(&rewritten);
        if head.has_content_length {
            RequestHeaders.set("content-length", &rewritten.len().to_string());
        }
        if let Some(base_path) = &model.base_path {
            RequestHeaders.set(":path", &head.endpoint.path_at(&head.path, base_path));
        }
        if let Some(host) = &model.host {
            RequestHeaders.set(":authority", host);
        }
        RequestHeaders.set(&self.shared.config.cluster_header, &model.cluster);
    }

    /// Answers in place of an LLM; in shadow, lets the request go on as it was sent.
    fn refuse(&mut self, refusal: &Refusal) -> Action {
        debug!("refused: {}", refusal.code());
        self.shared.stats.refused(refusal);
        if self.shared.config.filter_state {
            access_log::tell_refusal(refusal);
        }
        if self.in_shadow() {
            self.phase = Phase::Untouched;
            return Action::Continue;
        }
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

    /// Ends the request's way through the router, and spares the sidecar work that nobody waits for.
    fn give_up(&mut self) {
        match mem::replace(&mut self.phase, Phase::Refused) {
            Phase::Waiting(waiting) => waiting.call.cancel(),
            Phase::Reading(_) | Phase::Refused => {}
            other @ (Phase::Untouched | Phase::Routed(_)) => self.phase = other,
        }
    }

    /// Goes on with what the sidecar answered.
    fn answered(&mut self, waiting: Waiting, status: u32, size: usize) {
        if waiting.told == Teach::Digest
            && classifier::wants_examples(status, &waiting.pending.policy.classifier)
            && let Some(call) = self.teach(&waiting)
        {
            self.phase = Phase::Waiting(Waiting { call, told: Teach::Examples, ..waiting });
            return;
        }
        let classifier = &waiting.pending.policy.classifier;
        let now = host::now();
        let answer = match classifier::answer(status, size, classifier) {
            Ok(classification) => Answer::Fresh(classification),
            Err(failure) => {
                self.shared.warnings.warn(now, failure);
                Answer::None
            }
        };
        let took = now.saturating_sub(waiting.since);
        self.shared.stats.classified(classifier, answer != Answer::None, took);
        let decided = self.shared.router.borrow_mut().decide(&waiting.pending, answer, now);
        match decided {
            Ok(decision) => {
                let body = waiting.head.body.read();
                self.route(decision, &waiting.head, &waiting.rewrite, body.bytes(), now);
                host::resume_request();
            }
            Err(refusal) => {
                if self.refuse(&refusal) == Action::Continue {
                    host::resume_request();
                }
            }
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
        let max_body = self.max_body();
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
            Phase::Routed(routed) => routed.headers(),
            Phase::Untouched | Phase::Refused => {}
            // Envoy answers the request itself: the body is over its limit, or time is up. Nothing of the request may be
            // touched any more.
            Phase::Reading(_) | Phase::Waiting(_) => self.give_up(),
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, _end_of_stream: bool) -> Action {
        if let Phase::Routed(routed) = &mut self.phase {
            routed.body(size, &self.shared.stats);
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        if let Phase::Routed(routed) = mem::replace(&mut self.phase, Phase::Refused) {
            routed.done(&self.shared.stats);
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

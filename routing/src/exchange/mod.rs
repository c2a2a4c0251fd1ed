//! The life of one request as a state machine without I/O: events in, effects out.
//!
//! A host (the Wasm filter, native ext_proc, a dry run) reports what happens to a request, in this order, and applies
//! what each call returns. All events go to its [`EventSink`].
//!
//! | event | call | effects |
//! |---|---|---|
//! | request headers | [`Exchange::request_headers`] | remove headers; continue, hold or respond |
//! | a part of the body, optional | [`Exchange::request_progress`] | none; continue or respond |
//! | the whole body | [`Exchange::request_body`] | continue, classify, forward or respond |
//! | the classifier's call ended | [`Exchange::classified`] | continue, classify again, forward or respond |
//! | response headers | [`Exchange::response_headers`] | explain the decision; cancel the classifier's call |
//! | a response chunk | [`Exchange::response_chunk`] | none |
//! | the response's end | [`Exchange::response_end`] | none |
//! | the request is over, whatever the reason | [`Exchange::finish`] | cancel the classifier's call |
//!
//! An event that does not fit the state changes nothing: Envoy may respond by itself or drop the client at any time.

mod admission;
mod effects;
mod event;
mod forward;
mod query;
mod response;
#[cfg(test)]
mod tests;

use std::mem;
use std::sync::Arc;
use std::time::Duration;

pub use effects::{Explanation, Forward, LocalResponse, OnBody, OnHeaders, OnResponse};
pub use event::{Event, EventSink};
pub use query::{CallResult, ExamplesPayload, Query};
pub use response::{Attempt, ResponseHead};

use crate::cache::{CachingRouter, Plan};
use crate::classification::Prediction;
use crate::config::{Config, Mode};
use crate::context::{Attribute, RequestContext};
use crate::decision::{Decision, Reason};
use crate::headers::Headers;
use crate::rejection::Rejection;
use crate::request::{Endpoint, Request, RequestHead, Target};
use crate::requirements::Api;
use crate::rewrite::Rewrite;
use crate::router::{Outcome, Pending, Wanted};
use admission::Admission;
use response::Forwarded;

/// One request in the router.
#[derive(Debug)]
pub struct Exchange {
    router: Arc<CachingRouter>,
    state: State,
}

/// The state of the request.
#[derive(Debug)]
enum State {
    /// The request headers have not arrived.
    New,
    /// The request is not routed: it is forwarded unchanged.
    Untouched,
    /// The request is held until its body is complete.
    AwaitingBody(Box<Held>),
    /// The request is held until the classifier's call ends.
    Classifying(Box<Classifying>),
    /// The request was forwarded; in shadow mode, unchanged.
    Forwarded(Box<Forwarded>),
    /// The router responded.
    Responded,
    /// The request is over.
    Finished,
}

/// The state of a request until its body arrives.
#[derive(Debug)]
struct Held {
    target: Target,
    head: RequestHead,
}

/// The state of a request until its predictions arrive.
#[derive(Debug)]
struct Classifying {
    held: Held,
    pending: Box<Pending>,
    wanted: Wanted,
    rewrite: Rewrite,
    examples: ExamplesPayload,
    /// When the first call began: the policy's timeout applies to all calls together.
    since: Duration,
    /// When this call began.
    called: Duration,
    timeout: Duration,
}

impl Classifying {
    /// Records that the call has ended.
    fn record(&self, answered: bool, now: Duration, events: &mut impl EventSink) {
        let took = now.saturating_sub(self.called);
        events.record(Event::Classified { classifiers: &self.wanted.classifiers, answered, took });
    }

    fn needs_examples(&self) -> bool {
        self.wanted.classifiers.iter().any(|classifier| classifier.examples().is_some())
    }
}

impl Exchange {
    /// A request before its headers.
    pub fn new(router: Arc<CachingRouter>) -> Self {
        Self { router, state: State::New }
    }

    /// The request headers have arrived. Returns the names of headers to remove, and the effect.
    ///
    /// `context` has what the policy's [`ContextKeys`](crate::context::ContextKeys) name, as far as the host knows it.
    /// `has_body` is false if the request ends with its headers.
    pub fn request_headers(
        &mut self,
        headers: Headers,
        mut context: RequestContext,
        has_body: bool,
        events: &mut impl EventSink,
    ) -> (Vec<String>, OnHeaders) {
        let State::New = self.state else { return (Vec::new(), OnHeaders::Continue) };
        self.state = State::Untouched;
        let own = headers.iter().map(|(name, _)| name);
        let own = own.filter(|name| self.config().owns_header(name));
        let remove: Vec<_> = own.map(str::to_owned).collect();
        if remove.iter().any(|name| self.config().may_choose_route(name)) {
            // No condition may match because of such a header. This matters in shadow mode, which does not reject the request.
            context.forget(Attribute::RouteName);
        }
        let head = RequestHead::new(headers).with_context(context);
        let api = head.api();
        let then = match admission::admit(self.config(), &head, has_body) {
            Ok(Admission::Prompt(target)) => {
                self.state = State::AwaitingBody(Box::new(Held { target, head }));
                OnHeaders::Hold
            }
            Ok(Admission::Untouched) => OnHeaders::Continue,
            Ok(Admission::Models(models)) => {
                self.state = State::Responded;
                OnHeaders::Respond(LocalResponse::json(models))
            }
            Err(rejection) => match self.reject(&rejection, api, events) {
                Some(response) => OnHeaders::Respond(response),
                None => OnHeaders::Continue,
            },
        };
        (remove, then)
    }

    /// A part of the body has arrived. `length` is the length of all parts so far. `None` while the request stays held.
    pub fn request_progress(&mut self, length: usize, events: &mut impl EventSink) -> Option<OnBody> {
        let State::AwaitingBody(held) = &self.state else { return None };
        let api = held.head.api();
        let rejection = admission::check_size(length, self.config().limits.max_body).err()?;
        Some(self.respond_or_continue(&rejection, api, events))
    }

    /// The body has not arrived within the host's time limit.
    pub fn request_timeout(&mut self, events: &mut impl EventSink) -> OnBody {
        self.stop_awaiting(&Rejection::body_timeout(), events)
    }

    /// The host is too busy to read the body.
    pub fn request_overload(&mut self, events: &mut impl EventSink) -> OnBody {
        self.stop_awaiting(&Rejection::overloaded(), events)
    }

    /// Rejects a request whose body is still awaited.
    fn stop_awaiting(&mut self, rejection: &Rejection, events: &mut impl EventSink) -> OnBody {
        let State::AwaitingBody(held) = &self.state else { return OnBody::Continue };
        let api = held.head.api();
        self.respond_or_continue(rejection, api, events)
    }

    /// The whole body has arrived. `now` is any monotonic clock.
    pub fn request_body(&mut self, body: &[u8], now: Duration, events: &mut impl EventSink) -> OnBody {
        match mem::replace(&mut self.state, State::Untouched) {
            State::AwaitingBody(held) => {
                let api = held.head.api();
                match self.plan(*held, body, now, events) {
                    Ok(action) => action,
                    Err(rejection) => self.respond_or_continue(&rejection, api, events),
                }
            }
            other => {
                self.state = other;
                OnBody::Continue
            }
        }
    }

    /// The call to the classifier, after [`OnBody::Classify`].
    pub fn query(&self) -> Option<Query<'_>> {
        let State::Classifying(classifying) = &self.state else { return None };
        Some(Query {
            classifiers: &classifying.wanted.classifiers,
            policy: classifying.pending.policy().map(|policy| &policy.name),
            examples_are_optional: classifying.wanted.for_comparison.iter().any(|it| it.examples().is_some()),
            payload: classifying.examples,
            prompt: classifying.pending.prompt(&classifying.wanted)?,
            head: &classifying.held.head,
            timeout: classifying.timeout,
        })
    }

    /// The classifier's call ended, or could not be made. `body` is the request's, as passed to [`Exchange::request_body`]; it
    /// is requested only if the chosen model edits it.
    pub fn classified<B: AsRef<[u8]>>(
        &mut self,
        result: CallResult,
        body: impl FnOnce() -> B,
        now: Duration,
        events: &mut impl EventSink,
    ) -> OnBody {
        let mut classifying = match mem::replace(&mut self.state, State::Untouched) {
            State::Classifying(classifying) => classifying,
            other => {
                self.state = other;
                return OnBody::Continue;
            }
        };
        let was_called = result != CallResult::NotCalled;
        let predictions = match result {
            CallResult::Classified(predictions) => predictions,
            CallResult::UnknownExamples => match self.with_examples(classifying, now) {
                Ok(()) => return OnBody::Classify,
                Err(without) => {
                    classifying = without;
                    Vec::new()
                }
            },
            CallResult::Unavailable | CallResult::NotCalled => Vec::new(),
        };
        if was_called {
            classifying.record(!predictions.is_empty(), now, events);
        }
        self.learn(&mut classifying, predictions, now);
        self.decide(*classifying, body, now, events)
    }

    /// The response headers have arrived. `attempt` is requested only if the policy's other models may have responded.
    pub fn response_headers(
        &mut self,
        head: ResponseHead<'_>,
        attempt: impl FnOnce() -> Attempt,
        events: &mut impl EventSink,
    ) -> OnResponse {
        match &mut self.state {
            State::Forwarded(forwarded) => OnResponse::Explain(forwarded.headers(head, attempt, events)),
            // Envoy responds itself: the body is over its limit, or time is up. The request must not be changed any more.
            State::AwaitingBody(_) | State::Classifying(_) => match self.abandon() {
                true => OnResponse::CancelCall,
                false => OnResponse::Continue,
            },
            State::New | State::Untouched | State::Responded | State::Finished => OnResponse::Continue,
        }
    }

    /// Whether response chunks are needed: a host need not copy others.
    pub fn reads_response(&self) -> bool {
        matches!(&self.state, State::Forwarded(forwarded) if forwarded.reads_response())
    }

    /// A chunk of the response has come. `now` is called at most once.
    pub fn response_chunk(
        &mut self,
        chunk: &[u8],
        now: impl FnOnce() -> Duration,
        events: &mut impl EventSink,
    ) {
        if let State::Forwarded(forwarded) = &mut self.state {
            forwarded.chunk(chunk, now, events);
            if let Some((id, model, since)) = forwarded.new_response_id() {
                self.router.remember_response(id, model, since);
            }
        }
    }

    /// The response has ended.
    pub fn response_end(&mut self, events: &mut impl EventSink) {
        if let State::Forwarded(forwarded) = &mut self.state {
            forwarded.end(events);
        }
    }

    /// The request is over: it has its response, or the client left. Returns whether a call to the classifier is to be
    /// cancelled.
    pub fn finish(&mut self, events: &mut impl EventSink) -> bool {
        self.response_end(events);
        self.abandon()
    }

    /// Whether the router must read the response to a held request, because later requests may continue it. A host that provides
    /// responses only on demand must be asked for this one.
    pub fn must_read_response(&self) -> bool {
        let is_enforced = self.config().mode == Mode::Enforce;
        matches!(&self.state, State::AwaitingBody(held) if is_enforced && held.target.endpoint == Endpoint::Responses)
    }

    /// Whether the request is held.
    pub fn is_held(&self) -> bool {
        matches!(self.state, State::AwaitingBody(_) | State::Classifying(_))
    }

    /// Whether the request was forwarded by a decision. Body bytes that arrive after that exceed the announced length.
    pub fn is_forwarded(&self) -> bool {
        matches!(self.state, State::Forwarded(_))
    }

    /// Whether the router responded, or the request is over.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Responded | State::Finished)
    }

    /// The context that the decision uses, while the body is awaited: less than the host reported if the client interfered.
    pub fn context(&self) -> Option<&RequestContext> {
        match &self.state {
            State::AwaitingBody(held) => Some(held.head.context()),
            _ => None,
        }
    }

    /// The length that the client announced for a body that is awaited.
    pub fn announced_length(&self) -> Option<usize> {
        match &self.state {
            State::AwaitingBody(held) => held.head.content_length(),
            _ => None,
        }
    }

    /// The policy.
    pub fn config(&self) -> &Config {
        self.router.config()
    }

    /// Ends the exchange. Returns whether a call was in progress.
    fn abandon(&mut self) -> bool {
        matches!(mem::replace(&mut self.state, State::Finished), State::Classifying(_))
    }

    fn plan(
        &mut self,
        held: Held,
        body: &[u8],
        now: Duration,
        events: &mut impl EventSink,
    ) -> Result<OnBody, Rejection> {
        admission::check_size(body.len(), self.config().limits.max_body)?;
        let request = Request::parse(held.target.endpoint, body)?;
        if held.target.endpoint.takes_tokens() {
            events.record(Event::Estimated { tokens: request.estimated_tokens });
        }
        let plan =
            self.router.plan(&request, &held.head, now, &mut |step| events.record(Event::Step(step)))?;
        let rewrite = request.into_rewrite();
        match plan {
            Plan::Done(outcome) => Ok(self.carry_out(outcome, &held, &rewrite, || body, now, events)),
            Plan::Classify(pending, wanted) => {
                let timeout = self.config().sidecar.timeout;
                let examples = ExamplesPayload::Digest;
                let (since, called) = (now, now);
                let classifying =
                    Classifying { held, pending, wanted, rewrite, examples, since, called, timeout };
                self.state = State::Classifying(Box::new(classifying));
                Ok(OnBody::Classify)
            }
        }
    }

    /// Records the predictions for the classified message.
    fn learn(
        &self,
        classifying: &mut Classifying,
        mut predictions: Vec<(String, Prediction)>,
        now: Duration,
    ) {
        let Classifying { pending, wanted, .. } = classifying;
        for classifier in &wanted.classifiers {
            let place = predictions.iter().position(|(name, _)| name == classifier.as_str());
            let prediction = place.map(|place| predictions.swap_remove(place).1);
            self.router.learn(pending, wanted, classifier, prediction, now);
        }
    }

    /// Waits for another call, with all examples, within the remaining time.
    fn with_examples(
        &mut self,
        mut classifying: Box<Classifying>,
        now: Duration,
    ) -> Result<(), Box<Classifying>> {
        let was_sent = classifying.examples == ExamplesPayload::Full;
        let Some(left) =
            self.time_left(&classifying, now).filter(|_| !was_sent && classifying.needs_examples())
        else {
            return Err(classifying);
        };
        classifying.examples = ExamplesPayload::Full;
        classifying.timeout = left;
        self.state = State::Classifying(classifying);
        Ok(())
    }

    /// The remaining part of the policy's timeout for another call.
    fn time_left(&self, classifying: &Classifying, now: Duration) -> Option<Duration> {
        let spent = now.saturating_sub(classifying.since);
        let left = self.config().sidecar.timeout.saturating_sub(spent);
        // Envoy counts in milliseconds, and takes 0 for no limit.
        (left.as_millis() > 0).then_some(left)
    }

    /// Decides, or waits for another call about another message.
    fn decide<B: AsRef<[u8]>>(
        &mut self,
        mut classifying: Classifying,
        body: impl FnOnce() -> B,
        now: Duration,
        events: &mut impl EventSink,
    ) -> OnBody {
        loop {
            let left = self.time_left(&classifying, now);
            let Classifying { held, pending, rewrite, since, .. } = classifying;
            let decided = self.router.decide(*pending, now, &mut |step| events.record(Event::Step(step)));
            let (pending, wanted) = match decided {
                Ok(Plan::Done(outcome)) => {
                    return self.carry_out(outcome, &held, &rewrite, body, now, events);
                }
                Err(rejection) => return self.respond_or_continue(&rejection, held.head.api(), events),
                Ok(Plan::Classify(pending, wanted)) => (pending, wanted),
            };
            let examples = ExamplesPayload::Digest;
            let timeout = left.unwrap_or_default();
            classifying =
                Classifying { held, pending, wanted, rewrite, examples, since, called: now, timeout };
            if left.is_some() {
                self.state = State::Classifying(Box::new(classifying));
                return OnBody::Classify;
            }
            // Time is up: what is still missing counts as unavailable.
            self.learn(&mut classifying, Vec::new(), now);
        }
    }

    fn carry_out<B: AsRef<[u8]>>(
        &mut self,
        outcome: Outcome,
        held: &Held,
        rewrite: &Rewrite,
        body: impl FnOnce() -> B,
        now: Duration,
        events: &mut impl EventSink,
    ) -> OnBody {
        match outcome {
            Outcome::Route(decision) => self.forward(decision, held, rewrite, body, now, events),
            Outcome::Passthrough => self.pass(held, rewrite),
        }
    }

    fn forward<B: AsRef<[u8]>>(
        &mut self,
        mut decision: Decision,
        held: &Held,
        rewrite: &Rewrite,
        body: impl FnOnce() -> B,
        now: Duration,
        events: &mut impl EventSink,
    ) -> OnBody {
        let action = if self.config().mode == Mode::Shadow {
            decision.reason = Reason::Shadow;
            decision.next.clear();
            OnBody::Continue
        } else {
            let Held { target, head } = held;
            let forward = forward::forward(self.config(), target, head, &mut decision, rewrite, body, events);
            OnBody::Forward(Box::new(forward))
        };
        events.record(Event::Routed(&decision));
        let forwarded = Forwarded::new(Arc::new(decision), held.target.endpoint, now);
        self.state = State::Forwarded(Box::new(forwarded));
        action
    }

    /// The request is not routed. It is forwarded unchanged, except for routing metadata, which is not meant for the LLM.
    fn pass(&self, held: &Held, rewrite: &Rewrite) -> OnBody {
        if self.config().mode == Mode::Shadow {
            return OnBody::Continue;
        }
        let forward = forward::without_unwanted(&held.head, rewrite);
        forward.map_or(OnBody::Continue, |forward| OnBody::Forward(Box::new(forward)))
    }

    fn respond_or_continue(
        &mut self,
        rejection: &Rejection,
        api: Api,
        events: &mut impl EventSink,
    ) -> OnBody {
        self.reject(rejection, api, events).map_or(OnBody::Continue, OnBody::Respond)
    }

    /// The response to a rejected request; none in shadow mode, where it is forwarded unchanged.
    fn reject(
        &mut self,
        rejection: &Rejection,
        api: Api,
        events: &mut impl EventSink,
    ) -> Option<LocalResponse> {
        events.record(Event::Rejected(rejection));
        if self.config().mode == Mode::Shadow {
            self.state = State::Untouched;
            return None;
        }
        self.state = State::Responded;
        Some(LocalResponse::rejection(rejection, api))
    }
}

//! A request of Envoy's own filter that is routed here: reports Envoy's messages to its [`Exchange`], and
//! returns what to do with the request.

use std::sync::Arc;

use llm_router_classifier::model::prediction::HeadOutput;
use llm_router_proto::Struct;
use llm_router_proto::envoy::service::ext_proc::v3::{HttpBody, HttpHeaders, ProcessingResponse};
use llm_router_routing::config::{Config, PolicyName};
use llm_router_routing::context::RequestContext;
use llm_router_routing::exchange::{
    Attempt, CallResult, Event, EventSink, Exchange, Forward, OnBody, OnHeaders, OnResponse, Query,
    ResponseHead,
};
use llm_router_routing::headers::Headers;

use super::flow::{Decision, OnRequest, Verdict};
use super::large_bodies::LargeBodies;
use super::request::PromptText;
use super::{PolicyRouter, Service, answer, classify, metadata, request};
use crate::capture::{Capture, Record, Routed};
use crate::telemetry::metrics::{Metrics, Outcome};

/// One request.
pub(super) struct RoutedRequest {
    router: Arc<PolicyRouter>,
    exchange: Exchange,
    metrics: Arc<Metrics>,
}

/// The predictions for a prompt.
pub(super) struct Called {
    /// For the policy.
    pub(super) result: CallResult,
    /// The predictions in full.
    scores: Vec<HeadOutput>,
    /// The outcome to count.
    outcome: Outcome,
}

/// Counts events, and keeps the decision's metadata for access logs.
struct Recorder<'a> {
    config: &'a Config,
    metrics: &'a Metrics,
    /// The latest predictions.
    scores: Vec<HeadOutput>,
    metadata: Option<Struct>,
    /// Whether the request was drawn for capture. If so, the decision is kept for it.
    is_drawn: bool,
    routed: Option<Routed>,
}

impl<'a> Recorder<'a> {
    fn new(router: &'a PolicyRouter, metrics: &'a Metrics) -> Self {
        Self {
            config: router.config(),
            metrics,
            scores: Vec::new(),
            metadata: None,
            is_drawn: false,
            routed: None,
        }
    }
}

impl EventSink for Recorder<'_> {
    fn record(&mut self, event: Event<'_>) {
        self.metrics.decisions.record(&event, self.config);
        match event {
            Event::Routed(decision) => {
                self.metadata = Some(metadata::of_decision(decision, &self.scores));
                self.routed = self.is_drawn.then(|| Routed::from(decision));
            }
            Event::Rejected(rejection) => self.metadata = Some(metadata::of_rejection(rejection)),
            _ => {}
        }
    }
}

impl RoutedRequest {
    pub(super) fn new(router: Arc<PolicyRouter>, metrics: Arc<Metrics>) -> Self {
        Self { exchange: router.exchange(), router, metrics }
    }

    /// The request headers have arrived.
    pub(super) fn request_headers(
        &mut self,
        message: HttpHeaders,
        context: RequestContext,
    ) -> (OnRequest, Option<Struct>) {
        let has_body = !message.end_of_stream;
        let headers = Headers::from(request::headers(message));
        let mut recorder = Recorder::new(&self.router, &self.metrics);
        let (remove, then) = self.exchange.request_headers(headers, context, has_body, &mut recorder);
        let request = match then {
            OnHeaders::Continue => OnRequest::Pass { remove, has_body },
            OnHeaders::Hold => OnRequest::Hold {
                remove,
                announced: self.exchange.announced_length(),
                read_response: self.exchange.must_read_response(),
            },
            OnHeaders::Respond(response) => OnRequest::Respond(response),
        };
        (request, recorder.metadata)
    }

    /// This many bytes of the body have arrived. Returns the decision if they exceed the limit.
    pub(super) fn request_progress(&mut self, length: usize) -> Option<Decision> {
        let mut recorder = Recorder::new(&self.router, &self.metrics);
        let action = self.exchange.request_progress(length, &mut recorder)?;
        Some(early_decision(action, recorder))
    }

    /// The body takes too long.
    pub(super) fn request_timeout(&mut self) -> Decision {
        let mut recorder = Recorder::new(&self.router, &self.metrics);
        let action = self.exchange.request_timeout(&mut recorder);
        early_decision(action, recorder)
    }

    /// The sidecar has too much to do to read the body.
    pub(super) fn request_overload(&mut self) -> Decision {
        let mut recorder = Recorder::new(&self.router, &self.metrics);
        let action = self.exchange.request_overload(&mut recorder);
        early_decision(action, recorder)
    }

    /// The whole request body has arrived. It is read once it has a turn, if it is large.
    pub(super) async fn request_body(
        &mut self,
        service: &Service,
        large_bodies: &LargeBodies,
        body: &[u8],
        request_id: Option<&str>,
    ) -> Decision {
        let router = Arc::clone(&self.router);
        let Some(turn) = large_bodies.turn(body.len()).await else {
            self.metrics.request().end(Outcome::Overloaded);
            return self.request_overload();
        };
        let mut recorder = Recorder::new(&router, &self.metrics);
        let mut action = self.exchange.request_body(body, self.router.now(), &mut recorder);
        drop(turn);
        let mut drawn = None;
        while let OnBody::Classify = action {
            let query = self.exchange.query();
            drawn = query.as_ref().and_then(|query| service.drawn(query));
            let clock = query.is_some().then(|| self.metrics.request());
            let Called { result, scores, outcome } = service.call(query).await;
            if let Some(clock) = clock {
                clock.end(outcome);
            }
            recorder.scores = scores;
            recorder.is_drawn = drawn.is_some();
            action = self.exchange.classified(result, || body, self.router.now(), &mut recorder);
        }
        if let Some((capture, prompt)) = drawn.filter(|_| !recorder.scores.is_empty()) {
            let (request_id, routed) = (request_id.map(str::to_owned), recorder.routed.take());
            capture.capture(Record { request_id, routed, ..prompt.captured(recorder.scores.clone()) });
        }
        let verdict = verdict(action, body, &recorder.scores);
        Decision { verdict, metadata: recorder.metadata }
    }

    /// The response to the response headers.
    pub(super) fn response_headers(&mut self, message: HttpHeaders) -> ProcessingResponse {
        let headers = Headers::from(request::headers(message));
        let head =
            ResponseHead { content_type: headers.text("content-type"), is_encoded: headers.is_encoded() };
        // External processing does not report which attempt responded: there is no failover in this mode.
        let first = || Attempt { number: 1, cluster: None };
        let mut recorder = Recorder::new(&self.router, &self.metrics);
        match self.exchange.response_headers(head, first, &mut recorder) {
            OnResponse::Explain(explanation) => {
                let headers: Vec<_> = explanation.headers().collect();
                answer::explained(headers)
            }
            // Messages are processed one after the other, so no call is in progress.
            OnResponse::Continue | OnResponse::CancelCall => answer::explained([]),
        }
    }

    /// A chunk of the response has arrived.
    pub(super) fn response_body(&mut self, chunk: &HttpBody) {
        let mut recorder = Recorder::new(&self.router, &self.metrics);
        self.exchange.response_chunk(&chunk.body, || self.router.now(), &mut recorder);
        if chunk.end_of_stream {
            self.exchange.response_end(&mut recorder);
        }
    }
}

/// The decision on a request whose body is not whole, with the recorded metadata.
fn early_decision(action: OnBody, recorder: Recorder<'_>) -> Decision {
    let verdict = match action {
        OnBody::Respond(response) => Verdict::Respond(response),
        OnBody::Continue | OnBody::Classify | OnBody::Forward(_) => Verdict::Unchanged,
    };
    Decision { verdict, metadata: recorder.metadata }
}

/// The verdict for the routing core's action on a request with this body. The headers include the scores.
fn verdict(action: OnBody, body: &[u8], scores: &[HeadOutput]) -> Verdict {
    match action {
        OnBody::Continue | OnBody::Classify => Verdict::Unchanged,
        OnBody::Forward(forward) => {
            let Forward { headers, body: rewritten, .. } = *forward;
            let headers = headers.into_iter().map(|(key, value)| answer::header(key, value));
            let headers = headers.chain(answer::score_headers(scores)).collect();
            Verdict::Changed { headers, body: Some(rewritten.apply(body).into()) }
        }
        OnBody::Respond(response) => Verdict::Respond(response),
    }
}

impl Drop for RoutedRequest {
    /// The stream has ended. A call in progress was dropped with the response that waited for it.
    fn drop(&mut self) {
        self.exchange.finish(&mut Recorder::new(&self.router, &self.metrics));
    }
}

impl Service {
    /// The prompt of a query, if it was drawn for capture.
    fn drawn(&self, query: &Query<'_>) -> Option<(&Capture, PromptText)> {
        let capture = self.capture.as_ref()?;
        let is_drawn = capture.draws(query.policy.map(PolicyName::as_str));
        is_drawn.then(|| (capture, PromptText::from(query.prompt)))
    }

    /// Calls the classifiers of this process. Counts nothing.
    pub(super) async fn call(&self, query: Option<Query<'_>>) -> Called {
        let Some(query) = query else {
            return Called {
                result: CallResult::Unavailable,
                scores: Vec::new(),
                outcome: Outcome::Unclassifiable,
            };
        };
        let (outcome, scores) = self.scores_of(&query).await;
        let predictions = scores
            .iter()
            .filter_map(|scores| Some((scores.head.to_string(), scores.for_policies()?)))
            .collect::<Vec<_>>();
        let result = match predictions.is_empty() {
            true => CallResult::Unavailable,
            false => CallResult::Classified(predictions),
        };
        Called { result, scores, outcome }
    }

    async fn scores_of(&self, query: &Query<'_>) -> (Outcome, Vec<HeadOutput>) {
        let prompt = PromptText::from(query.prompt);
        let deadline = std::time::Instant::now().checked_add(query.timeout);
        let scoring = self.scores_for(query.classifiers, prompt.as_prompt(), deadline);
        match tokio::time::timeout(query.timeout, scoring).await {
            Ok(Ok(scores)) if scores.is_empty() => (Outcome::UnknownClassifier, scores),
            Ok(Ok(scores)) => (Outcome::Classified, scores),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no classification");
                (classify::outcome(&error), Vec::new())
            }
            Err(_) => {
                tracing::debug!("no classification in time");
                (Outcome::DeadlineExceeded, Vec::new())
            }
        }
    }
}

#[cfg(test)]
mod tests;

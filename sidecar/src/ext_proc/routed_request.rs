//! A request of Envoy's own filter that is routed here: reports to its [`Exchange`] what Envoy sends, and answers what that
//! returns.

use std::sync::Arc;

use llm_router_classifier::model::prediction::HeadOutput;
use llm_router_proto::Struct;
use llm_router_proto::envoy::service::ext_proc::v3::{HttpBody, HttpHeaders, ProcessingResponse};
use llm_router_routing::config::Config;
use llm_router_routing::context::RequestContext;
use llm_router_routing::exchange::{
    Attempt, CallResult, Event, EventSink, Exchange, OnBody, OnHeaders, OnResponse, Query, ResponseHead,
};
use llm_router_routing::headers::Headers;

use super::{PolicyRouter, Service, answer, classify, metadata, request};
use crate::telemetry::metrics::{Metrics, Outcome};

/// One request.
pub(super) struct RoutedRequest {
    router: Arc<PolicyRouter>,
    exchange: Exchange,
    metrics: Arc<Metrics>,
}

/// Counts events, and keeps what access logs get of the decision.
struct Recorder<'a> {
    config: &'a Config,
    metrics: &'a Metrics,
    /// What the classifiers said just now.
    scores: Vec<HeadOutput>,
    metadata: Option<Struct>,
}

impl<'a> Recorder<'a> {
    fn new(router: &'a PolicyRouter, metrics: &'a Metrics) -> Self {
        Self { config: router.config(), metrics, scores: Vec::new(), metadata: None }
    }
}

impl EventSink for Recorder<'_> {
    fn record(&mut self, event: Event<'_>) {
        self.metrics.decisions.record(&event, self.config);
        match event {
            Event::Routed(decision) => {
                self.metadata = Some(metadata::of_decision(decision, &self.scores));
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

    /// The answer to the request headers.
    pub(super) fn request_headers(
        &mut self,
        message: HttpHeaders,
        context: RequestContext,
    ) -> ProcessingResponse {
        let has_body = !message.end_of_stream;
        let headers = Headers::from(request::headers(message));
        let mut recorder = Recorder::new(&self.router, &self.metrics);
        let (remove, then) = self.exchange.request_headers(headers, context, has_body, &mut recorder);
        let answer = match then {
            OnHeaders::Continue => answer::without_interest(remove),
            OnHeaders::Hold if self.exchange.must_read_response() => answer::with_response(remove),
            OnHeaders::Hold => answer::without_headers(remove),
            OnHeaders::Respond(response) => answer::responded(response),
        };
        ProcessingResponse { dynamic_metadata: recorder.metadata, ..answer }
    }

    /// The answer to the whole request body.
    pub(super) async fn request_body(&mut self, service: &Service, body: &[u8]) -> ProcessingResponse {
        let mut recorder = Recorder::new(&self.router, &self.metrics);
        let mut action = self.exchange.request_body(body, self.router.now(), &mut recorder);
        while let OnBody::Classify = action {
            let (result, scores) = service.call(self.exchange.query()).await;
            recorder.scores = scores;
            action = self.exchange.classified(result, || body, self.router.now(), &mut recorder);
        }
        let answer = match action {
            OnBody::Continue | OnBody::Classify => answer::unchanged(),
            OnBody::Forward(forward) => answer::forwarded(*forward, body, &recorder.scores),
            OnBody::Respond(response) => answer::responded(response),
        };
        ProcessingResponse { dynamic_metadata: recorder.metadata, ..answer }
    }

    /// The answer to the response headers.
    pub(super) fn response_headers(&mut self, message: HttpHeaders) -> ProcessingResponse {
        let headers = Headers::from(request::headers(message));
        let head =
            ResponseHead { content_type: headers.text("content-type"), is_encoded: headers.is_encoded() };
        // External processing does not tell which attempt responded: there is no failover in this mode.
        let first = || Attempt { number: 1, cluster: None };
        let mut recorder = Recorder::new(&self.router, &self.metrics);
        match self.exchange.response_headers(head, first, &mut recorder) {
            OnResponse::Explain(explanation) => {
                let headers: Vec<_> = explanation.headers().collect();
                answer::explained(headers)
            }
            // Messages are answered one after the other, so no call is under way.
            OnResponse::Continue | OnResponse::CancelCall => answer::explained([]),
        }
    }

    /// Reads a chunk of the response.
    pub(super) fn response_body(&mut self, chunk: &HttpBody) {
        let mut recorder = Recorder::new(&self.router, &self.metrics);
        self.exchange.response_chunk(&chunk.body, || self.router.now(), &mut recorder);
        if chunk.end_of_stream {
            self.exchange.response_end(&mut recorder);
        }
    }
}

impl Drop for RoutedRequest {
    /// The stream is over. A call that is under way was dropped with the answer that waited for it.
    fn drop(&mut self) {
        self.exchange.finish(&mut Recorder::new(&self.router, &self.metrics));
    }
}

impl Service {
    /// Asks the classifiers of this process: how that ended, and what they said in full.
    pub(super) async fn call(&self, query: Option<Query<'_>>) -> (CallResult, Vec<HeadOutput>) {
        let Some(query) = query else { return (CallResult::Unavailable, Vec::new()) };
        let scores = self.scores_of(&query).await;
        let predictions = scores
            .iter()
            .filter_map(|scores| Some((scores.head.to_string(), request::prediction(scores)?)))
            .collect::<Vec<_>>();
        let result = match predictions.is_empty() {
            true => CallResult::Unavailable,
            false => CallResult::Classified(predictions),
        };
        (result, scores)
    }

    async fn scores_of(&self, query: &Query<'_>) -> Vec<HeadOutput> {
        let text = query.prompt.text();
        let clock = self.metrics.request();
        let deadline = std::time::Instant::now().checked_add(query.timeout);
        let scoring = self.scores_for(query.classifiers, &text, deadline);
        let (outcome, found) = match tokio::time::timeout(query.timeout, scoring).await {
            Ok(Ok(scores)) if scores.is_empty() => (Outcome::UnknownClassifier, scores),
            Ok(Ok(scores)) => (Outcome::Classified, scores),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no classification");
                (classify::outcome(&error), Vec::new())
            }
            Err(_) => {
                tracing::debug!("no classification in time");
                (Outcome::Failed, Vec::new())
            }
        };
        clock.end(outcome);
        found
    }
}

#[cfg(test)]
mod tests;

//! Routes for Envoy's own filter: what our filter does inside Envoy, done here with the same policy.

use std::mem;
use std::time::{Duration, Instant};

use llm_router_proto::envoy::service::ext_proc::v3::ProcessingResponse;
use llm_router_routing::admission::check_size;
use llm_router_routing::config::Classifier;
use llm_router_routing::decision::Decision;
use llm_router_routing::outcome::{self, Head};
use llm_router_routing::rejection::Rejection;
use llm_router_routing::request::{Endpoint, Request};
use llm_router_routing::rewrite::Rewrite;
use llm_router_routing::router::{Answer, Client, Pending, Plan};

use super::stage::Stage;
use super::{PolicyRouter, Service, answer, classify, request};
use crate::telemetry::metrics::Outcome;
use llm_router_classifier::model::prediction::HeadOutput;

impl Service {
    /// The answer to a request's whole body.
    pub(super) async fn route(
        &self,
        router: &PolicyRouter,
        stage: &mut Stage,
        body: &[u8],
    ) -> ProcessingResponse {
        let head = match mem::take(stage) {
            Stage::Reading(head) => head,
            other => {
                *stage = other;
                return answer::unchanged();
            }
        };
        let mut scores = None;
        let decided = self.decide(router, &head, body, &mut scores).await;
        let outcome = outcome::Outcome::of(router.config(), &head, body, decided);
        let (next, answer) =
            Stage::carry_out(router.config(), outcome, scores.as_slice(), answer::unchanged(), &self.metrics);
        *stage = next;
        answer
    }

    /// Where the request goes; none if it stays as it is. `scores` are set to what the classifier said, if it was asked.
    async fn decide(
        &self,
        router: &PolicyRouter,
        head: &Head,
        body: &[u8],
        scores: &mut Option<HeadOutput>,
    ) -> Result<Option<(Decision, Rewrite)>, Rejection> {
        let config = router.config();
        check_size(body.len(), config.limits.max_body)?;
        let request = Request::parse(head.endpoint, body)?;
        let client = Client { path: &head.path, headers: &head.headers };
        let plan = router.plan(&request, &client)?;
        let rewrite = request.into_rewrite();
        match plan {
            Plan::Passthrough => Ok(None),
            Plan::Route(decision) => {
                // Without a call, only the cache knows what the classifier says.
                if decision.classification.is_some() {
                    self.metrics.decisions.cache_hit();
                }
                Ok(Some((decision, rewrite)))
            }
            Plan::Classify(pending) => {
                if config.cache.is_some() {
                    self.metrics.decisions.cache_miss();
                }
                *scores = self.ask(&pending, config.sidecar.timeout).await;
                let said = scores.as_ref().and_then(request::classification);
                let decision = router.decide(&pending, said.map_or(Answer::None, Answer::Fresh))?;
                Ok(Some((decision, rewrite)))
            }
        }
    }

    /// What the policy's classifier says; none if it says nothing in time.
    pub(super) async fn ask(&self, pending: &Pending, limit: Duration) -> Option<HeadOutput> {
        // As our filter sends it, so that both modes classify the same text.
        let text = request::text(Endpoint::ChatCompletions, &pending.text.to_body())?;
        let (classifier, since) = (&pending.policy.classifier, Instant::now());
        let scores = self.scores_of(classifier, &text, limit).await;
        self.metrics.decisions.classified(classifier.as_str(), scores.is_some(), since.elapsed());
        scores
    }

    async fn scores_of(&self, classifier: &Classifier, text: &str, limit: Duration) -> Option<HeadOutput> {
        let clock = self.metrics.request();
        let deadline = Instant::now().checked_add(limit);
        let scoring = self.score_for(classifier, text, deadline);
        let found = match tokio::time::timeout(limit, scoring).await {
            Ok(Ok(scores)) => scores,
            Ok(Err(error)) => {
                tracing::debug!(%error, "no classification");
                clock.end(classify::outcome(&error));
                return None;
            }
            Err(_) => {
                tracing::debug!("no classification in time");
                clock.end(Outcome::Failed);
                return None;
            }
        };
        clock.end(if found.is_some() { Outcome::Classified } else { Outcome::UnknownClassifier });
        found
    }
}

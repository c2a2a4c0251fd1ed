//! Classifies requests of our filter, and of Envoy's own filter without a policy.

use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use llm_router_proto::Bytes;
use llm_router_proto::contract::{self, ClassifyRequest, FewShotExamples, RequestedExamples, UNKNOWN_DIGEST};
use llm_router_proto::envoy::config::core::v3::Metadata;
use llm_router_routing::config::Classifier;
use llm_router_routing::request::Endpoint;
use opentelemetry::Context;
use tokio::time::timeout_at;
use tonic::{Code, Status};

use super::flow::{Decision, Verdict};
use super::large_bodies::LargeBodies;
use super::request::{self, UnknownClassifier};
use super::{Service, answer, metadata};
use crate::capture::Record;
use crate::telemetry::metrics::Outcome;
use crate::telemetry::traces;
use llm_router_classifier::engine::EngineError;
use llm_router_classifier::few_shot::{PendingEmbedding, Similarity};
use llm_router_classifier::model::prediction::{HeadOutput, Outputs, Prediction};
use llm_router_classifier::model::tokenizer::Prompt;

/// How a request ended without a classification, and its gRPC status.
type Failure = (Outcome, Status);

impl Service {
    /// Classifies a request's body with the classifiers in its metadata. A body without text is forwarded unchanged. A large
    /// body is read once it has a turn.
    pub(super) async fn classify(
        &self,
        large_bodies: &LargeBodies,
        endpoint: Option<Endpoint>,
        metadata: Option<Metadata>,
        body: Bytes,
        deadline: Option<Instant>,
        request_id: Option<&str>,
    ) -> Result<Decision, Status> {
        let clock = self.metrics.request();
        match self.respond(large_bodies, endpoint, metadata, body, deadline, request_id).await {
            Ok((outcome, decision)) => {
                clock.end(outcome);
                Ok(decision)
            }
            Err((outcome, status)) => {
                clock.end(outcome);
                tracing::debug!(code = ?status.code(), message = status.message(), "no classification");
                Err(status)
            }
        }
    }

    async fn respond(
        &self,
        large_bodies: &LargeBodies,
        endpoint: Option<Endpoint>,
        metadata: Option<Metadata>,
        body: Bytes,
        deadline: Option<Instant>,
        request_id: Option<&str>,
    ) -> Result<(Outcome, Decision), Failure> {
        let is_ours = metadata.as_ref().is_some_and(contract::is_ours);
        let settings = if is_ours { request::as_sent() } else { request::as_written() };
        let mut request = ClassifyRequest::from_parts(metadata, body)
            .map_err(|error| (Outcome::InvalidRequest, Status::invalid_argument(error.to_string())))?;
        let text = match endpoint {
            Some(endpoint) => {
                let _turn = large_bodies.turn(request.body.len()).await.ok_or_else(too_many_large_bodies)?;
                request::text(endpoint, &request.body, &settings)
            }
            None => None,
        };
        let Some(text) = text else { return Ok((Outcome::Unclassifiable, Verdict::Unchanged.into())) };
        let version = request.version.to_respond();
        let policy = request.policy.take();
        let prediction = self.predict(text.as_prompt(), request, deadline).await?;
        if let Some(capture) = self.capture.as_ref().filter(|capture| capture.draws(policy.as_deref())) {
            let scores = prediction.scores.clone();
            capture.capture(Record {
                request_id: request_id.map(str::to_owned),
                policy,
                ..text.captured(scores)
            });
        }
        let headers = answer::score_headers(&prediction.scores).collect();
        let metadata = Some(metadata::of_prediction(&prediction, version));
        Ok((Outcome::Classified, Decision { verdict: Verdict::Changed { headers, body: None }, metadata }))
    }

    async fn predict(
        &self,
        prompt: Prompt<'_>,
        request: ClassifyRequest,
        deadline: Option<Instant>,
    ) -> Result<Prediction, Failure> {
        let mut classifiers = request.classifiers;
        let similarity = match request.examples {
            Some(RequestedExamples { examples, are_optional })
                if request::take(&mut classifiers, Classifier::EXAMPLES) =>
            {
                match are_optional && !request::is_empty(&classifiers) {
                    true => self.pending_examples(&examples)?.done().now_or_never().and_then(Result::ok),
                    false => Some(self.few_shot_classifier(&examples, deadline).await?),
                }
            }
            _ => None,
        };
        let heads = !request::is_empty(&classifiers);
        let asked = self.score_and_compare(prompt, heads, similarity, deadline).await;
        let (mut prediction, similar) = asked.map_err(|error| (outcome(&error), status(&error)))?;
        let scores = request::select(&classifiers, prediction.scores);
        prediction.scores = scores.map_err(|UnknownClassifier(name)| {
            let message = format!("the model has no classifier {name:?}");
            (Outcome::UnknownClassifier, Status::invalid_argument(message))
        })?;
        prediction.scores.extend(similar);
        Ok(prediction)
    }

    /// The examples, which may still be in the process of being embedded. Embedding starts here if the
    /// request has them in full.
    fn pending_examples(&self, examples: &FewShotExamples) -> Result<PendingEmbedding, Failure> {
        match (self.pipeline.examples().find(examples.digest()), examples) {
            (Some(pending), _) => Ok(pending),
            (None, FewShotExamples::Full(examples)) => self
                .pipeline
                .embed_examples(examples)
                .map_err(|error| (Outcome::Overloaded, Status::resource_exhausted(error.to_string()))),
            (None, FewShotExamples::Digest(_)) => {
                let code = Code::from(UNKNOWN_DIGEST.cast_signed());
                let message = "the few-shot examples are unknown; send them with the request";
                Err((Outcome::UnknownExamples, Status::new(code, message)))
            }
        }
    }

    /// The few-shot classifier for these examples, once they are embedded.
    async fn few_shot_classifier(
        &self,
        examples: &FewShotExamples,
        deadline: Option<Instant>,
    ) -> Result<Arc<Similarity>, Failure> {
        let pending = self.pending_examples(examples)?;
        let embedded = match deadline {
            Some(deadline) => timeout_at(deadline.into(), pending.done()).await,
            None => Ok(pending.done().await),
        };
        match embedded {
            Ok(Ok(similarity)) => Ok(similarity),
            Ok(Err(error)) => Err((Outcome::Failed, Status::unavailable(error.to_string()))),
            Err(_) => {
                let message = "the few-shot examples are still being embedded";
                Err((Outcome::DeadlineExceeded, Status::deadline_exceeded(message)))
            }
        }
    }

    /// The predictions of the classifiers of a policy and its rules, in one pass of the model. Omits
    /// classifiers that the model lacks, and those whose examples cannot be embedded.
    pub(super) async fn scores_for(
        &self,
        classifiers: &[Classifier],
        prompt: Prompt<'_>,
        deadline: Option<Instant>,
    ) -> Result<Vec<HeadOutput>, EngineError> {
        let similarity = match classifiers.iter().find_map(Classifier::examples) {
            Some(examples) => self.pipeline.embed_policy_examples(examples).done().await.ok(),
            None => None,
        };
        let heads = classifiers.iter().any(|classifier| classifier.examples().is_none());
        if similarity.is_none() && !heads {
            return Ok(Vec::new());
        }
        let (mut prediction, similar) = self.score_and_compare(prompt, heads, similarity, deadline).await?;
        let is_asked = |head: &str| classifiers.iter().any(|classifier| classifier.as_str() == head);
        prediction.scores.retain(|scores| is_asked(&scores.head));
        Ok(prediction.scores.into_iter().chain(similar).collect())
    }

    /// The predictions of the heads and of a few-shot classifier for a prompt, in one pass of the model.
    /// Without a few-shot classifier, the heads are always computed.
    pub(super) async fn score_and_compare(
        &self,
        prompt: Prompt<'_>,
        heads: bool,
        similarity: Option<Arc<Similarity>>,
        deadline: Option<Instant>,
    ) -> Result<(Prediction, Option<HeadOutput>), EngineError> {
        let outputs = match (&similarity, heads) {
            (None, _) => Outputs::Scores,
            (Some(_), false) => Outputs::Embedding,
            (Some(_), true) => Outputs::ScoresAndEmbedding,
        };
        let mut prediction = self.score(prompt, outputs, deadline).await?;
        let similar = similarity.zip(prediction.embedding.take());
        Ok((prediction, similar.map(|(similarity, embedding)| similarity.compare(&embedding))))
    }

    /// The prediction of the model, if it is ready by the deadline.
    pub(crate) async fn score(
        &self,
        prompt: Prompt<'_>,
        want: Outputs,
        deadline: Option<Instant>,
    ) -> Result<Prediction, EngineError> {
        let trace = Context::current();
        let prediction = self.pipeline.classify(prompt, want, deadline, traces::steps(&trace)).await?;
        traces::classified(&trace, &prediction);
        Ok(prediction)
    }
}

/// The outcome of a request that has no scores because of this error.
pub(super) fn outcome(error: &EngineError) -> Outcome {
    match error {
        EngineError::Overloaded => Outcome::Overloaded,
        EngineError::DeadlineExceeded => Outcome::DeadlineExceeded,
        EngineError::ShuttingDown | EngineError::NoWorkers | EngineError::Failed(_) => Outcome::Failed,
    }
}

fn too_many_large_bodies() -> Failure {
    let message = "too many large bodies are being read: try again later, or add sidecars";
    (Outcome::Overloaded, Status::resource_exhausted(message))
}

fn status(error: &EngineError) -> Status {
    let message = error.to_string();
    match error {
        EngineError::Overloaded => Status::resource_exhausted(message),
        EngineError::DeadlineExceeded => Status::deadline_exceeded(message),
        EngineError::ShuttingDown | EngineError::NoWorkers => Status::unavailable(message),
        EngineError::Failed(_) => Status::internal(message),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::path::Path;
    use std::time::Duration;

    use llm_router_classifier::engine::{Backend, Batching, EngineOptions};
    use llm_router_classifier::model::tokenizer::{Tokenizer, Tokens};
    use llm_router_classifier::pipeline::Pipeline;

    use super::super::AssumedBodyMode;
    use super::super::large_bodies::LARGE;
    use super::*;
    use crate::telemetry::metrics::Metrics;

    /// Predicts nothing.
    struct Empty;

    impl Backend for Empty {
        fn classify(&self, texts: &[&Tokens], _: Outputs) -> anyhow::Result<Vec<Prediction>> {
            Ok(vec![Prediction::default(); texts.len()])
        }
    }

    fn service() -> Service {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/minilm/tokenizer.json");
        let tokenizer = Arc::new(Tokenizer::load(&model).unwrap());
        let metrics = Arc::new(Metrics::new());
        let options = EngineOptions { queue: 1, batching: Batching::Alone, tokenizers: NonZeroUsize::MIN };
        let pipeline =
            Pipeline::start(tokenizer, vec![Empty], [].into(), options, metrics.classifier.clone()).unwrap();
        let (assumed_body_mode, body_timeout) = (AssumedBodyMode::default(), Duration::from_secs(1));
        Service { pipeline, metrics, router: None, capture: None, assumed_body_mode, body_timeout }
    }

    /// Reading it would hold up all other requests of the thread.
    #[tokio::test]
    async fn a_large_body_without_a_turn_is_not_read() {
        let service = service();
        let classify = async |large_bodies: &LargeBodies, length: usize| {
            let text = "x".repeat(length);
            let body = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#);
            let endpoint = Some(Endpoint::ChatCompletions);
            service.classify(large_bodies, endpoint, None, body.into(), None, None).await
        };
        let busy = LargeBodies::busy();
        let status = classify(&busy, LARGE).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        let overloaded = r#"requests_total{outcome="overloaded"} 1"#;
        assert!(service.metrics.encode().contains(overloaded), "{}", service.metrics.encode());
        assert!(classify(&busy, LARGE / 2).await.is_ok());
        assert!(classify(&LargeBodies::new(), LARGE).await.is_ok());
    }
}

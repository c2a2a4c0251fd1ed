//! Classifies: all that our filter asks for, and Envoy's own without a policy.

use std::sync::Arc;
use std::time::Instant;

use llm_router_proto::envoy::config::core::v3::Metadata;
use llm_router_proto::envoy::service::ext_proc::v3::ProcessingResponse;
use llm_router_routing::config::Classifier;
use llm_router_routing::request::Endpoint;
use opentelemetry::Context;
use tokio::time::timeout_at;
use tonic::Status;

use super::examples::Lesson;
use super::request::{self, UnknownClassifier, Wanted};
use super::{Service, answer};
use crate::telemetry::metrics::Outcome;
use crate::telemetry::traces;
use llm_router_classifier::engine::EngineError;
use llm_router_classifier::few_shot::Similarity;
use llm_router_classifier::model::prediction::{HeadOutput, Outputs, Prediction};

impl Service {
    /// The scores of a request's body. What cannot be classified goes on unchanged.
    pub(super) async fn classify(
        &self,
        endpoint: Option<Endpoint>,
        body: &[u8],
        metadata: Option<&Metadata>,
        deadline: Option<Instant>,
    ) -> Result<ProcessingResponse, Status> {
        let clock = self.metrics.request();
        let Some(text) = endpoint.and_then(|endpoint| request::text(endpoint, body)) else {
            clock.end(Outcome::Unclassifiable);
            return Ok(answer::unchanged());
        };
        match self.wanted(&text, metadata, deadline).await {
            Ok(said) => {
                clock.end(Outcome::Classified);
                Ok(answer::classified(&said))
            }
            Err((outcome, status)) => {
                clock.end(outcome);
                tracing::debug!(code = ?status.code(), message = status.message(), "no classification");
                Err(status)
            }
        }
    }

    async fn wanted(
        &self,
        text: &str,
        metadata: Option<&Metadata>,
        deadline: Option<Instant>,
    ) -> Result<Prediction, (Outcome, Status)> {
        let mut wanted = Wanted::from_metadata(metadata);
        let lesson = Lesson::from_metadata(metadata)
            .map_err(|error| (Outcome::UnknownExamples, Status::invalid_argument(error.to_string())))?;
        let likeness = match lesson {
            Some(lesson) if wanted.take(Classifier::EXAMPLES) => Some(self.taught(&lesson, deadline).await?),
            _ => None,
        };
        let want = match (&likeness, wanted.is_nothing()) {
            (None, _) => Outputs::Scores,
            (Some(_), true) => Outputs::Embedding,
            (Some(_), false) => Outputs::ScoresAndEmbedding,
        };
        let mut answer =
            self.score(text, want, deadline).await.map_err(|error| (outcome(&error), status(&error)))?;
        let alike =
            likeness.zip(answer.embedding.take()).map(|(likeness, embedding)| likeness.of(&embedding));
        answer.scores = wanted.select(answer.scores).map_err(|UnknownClassifier(name)| {
            let message = format!("the model has no classifier {name:?}");
            (Outcome::UnknownClassifier, Status::invalid_argument(message))
        })?;
        answer.scores.extend(alike);
        Ok(answer)
    }

    /// The examples of a lesson, which are learnt now if they came with it.
    async fn taught(
        &self,
        lesson: &Lesson,
        deadline: Option<Instant>,
    ) -> Result<Arc<Similarity>, (Outcome, Status)> {
        let known = self.pipeline.examples().find(&lesson.digest);
        let learning =
            known.or_else(|| lesson.examples.as_ref().map(|examples| self.pipeline.learn(examples)));
        let learning = learning.ok_or_else(|| {
            // The contract's code for it, see `llm_router_proto::UNKNOWN_DIGEST`.
            (
                Outcome::UnknownExamples,
                Status::failed_precondition("the examples are not known; send them too"),
            )
        })?;
        let learnt = match deadline {
            Some(deadline) => timeout_at(deadline.into(), learning.done()).await,
            None => Ok(learning.done().await),
        };
        match learnt {
            Ok(Ok(likeness)) => Ok(likeness),
            Ok(Err(error)) => Err((Outcome::Failed, Status::unavailable(error.to_string()))),
            Err(_) => {
                let message = "the examples are still being learnt";
                Err((Outcome::DeadlineExceeded, Status::deadline_exceeded(message)))
            }
        }
    }

    /// What a policy's classifier says of a text; none if the model has no such head, or cannot learn the examples.
    pub(super) async fn score_for(
        &self,
        classifier: &Classifier,
        text: &str,
        deadline: Option<Instant>,
    ) -> Result<Option<HeadOutput>, EngineError> {
        match classifier {
            Classifier::Head(name) => {
                let scores = self.score(text, Outputs::Scores, deadline).await?.scores;
                Ok(scores.into_iter().find(|scores| *scores.head == **name))
            }
            Classifier::Examples(examples) => {
                let Ok(likeness) = self.pipeline.learn(examples).done().await else { return Ok(None) };
                let embedding = self.score(text, Outputs::Embedding, deadline).await?.embedding;
                Ok(embedding.map(|embedding| likeness.of(&embedding)))
            }
        }
    }

    /// What the model says of a text, unless that is too late.
    pub(crate) async fn score(
        &self,
        text: &str,
        want: Outputs,
        deadline: Option<Instant>,
    ) -> Result<Prediction, EngineError> {
        let trace = Context::current();
        let prediction = self.pipeline.classify(text, want, deadline, traces::steps(&trace)).await?;
        traces::classified(&trace, &prediction);
        Ok(prediction)
    }
}

/// How a request ended that has no scores because of this.
pub(super) fn outcome(error: &EngineError) -> Outcome {
    match error {
        EngineError::Overloaded => Outcome::Overloaded,
        EngineError::DeadlineExceeded => Outcome::DeadlineExceeded,
        EngineError::ShuttingDown | EngineError::Failed(_) => Outcome::Failed,
    }
}

fn status(error: &EngineError) -> Status {
    let message = error.to_string();
    match error {
        EngineError::Overloaded => Status::resource_exhausted(message),
        EngineError::DeadlineExceeded => Status::deadline_exceeded(message),
        EngineError::ShuttingDown => Status::unavailable(message),
        EngineError::Failed(_) => Status::internal(message),
    }
}

//! Classifies: all that our filter asks for, and Envoy's own without a policy.

use std::sync::Arc;
use std::time::Instant;

use llm_router_proto::envoy::config::core::v3::Metadata;
use llm_router_proto::envoy::service::ext_proc::v3::ProcessingResponse;
use llm_router_routing::request::Endpoint;
use opentelemetry::Context;
use tonic::Status;

use super::request::{self, UnknownClassifier, Wanted};
use super::{Service, answer};
use crate::engine::EngineError;
use crate::model::scores::{Scores, Want};
use crate::telemetry::metrics::Outcome;
use crate::telemetry::traces;

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
        match self.wanted(&text, &Wanted::from_metadata(metadata), deadline).await {
            Ok(scores) => {
                clock.end(Outcome::Classified);
                Ok(answer::classified(&scores))
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
        wanted: &Wanted,
        deadline: Option<Instant>,
    ) -> Result<Vec<Scores>, (Outcome, Status)> {
        let scores = self.score(text, deadline).await.map_err(|error| (outcome(&error), status(&error)))?;
        wanted.select(scores).map_err(|UnknownClassifier(name)| {
            let message = format!("the model has no classifier {name:?}");
            (Outcome::UnknownClassifier, Status::invalid_argument(message))
        })
    }

    /// What every head says of a text, unless that is too late.
    pub(crate) async fn score(
        &self,
        text: &str,
        deadline: Option<Instant>,
    ) -> Result<Vec<Scores>, EngineError> {
        let scores = self.tokenize_and_score(text, deadline).await;
        if let Err(error @ EngineError::Failed(_)) = &scores {
            tracing::error!(%error);
        }
        scores
    }

    async fn tokenize_and_score(
        &self,
        text: &str,
        deadline: Option<Instant>,
    ) -> Result<Vec<Scores>, EngineError> {
        let trace = Context::current();
        let start = Instant::now();
        let tokens = self.tokenizer.tokenize(text).map_err(|error| EngineError::Failed(Arc::new(error)))?;
        let end = Instant::now();
        self.metrics.tokenize_seconds.observe((end - start).as_secs_f64());
        traces::step(&trace, "tokenize", start, end);
        let count = tokens.ids().len();
        let scores = self.engine.classify(tokens, Want::Scores, deadline).await?.scores;
        traces::classified(&trace, count, &scores);
        Ok(scores)
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

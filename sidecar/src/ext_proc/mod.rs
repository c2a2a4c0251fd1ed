//! Envoy's external-processing service: a stream of messages in, one answer to each out.
//!
//! Our filter sends one `request_body` and ends its side; Envoy's own filter sends headers, body and perhaps trailers
//! on a stream that it keeps open. Both are the same loop, which ends when the caller's side does.

mod answer;
mod request;
pub mod server;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use llm_router_proto::envoy::config::core::v3::Metadata;
use llm_router_proto::envoy::service::ext_proc::v3::{
    BodyResponse, HeadersResponse, HttpBody, ProcessingRequest, ProcessingResponse, TrailersResponse,
    external_processor_server::ExternalProcessor, processing_request, processing_response::Response,
};
use llm_router_routing::request::Endpoint;
use tonic::{Request, Status, Streaming};

use crate::engine::{Engine, EngineError};
use crate::model::tokenizer::Tokenizer;
use crate::telemetry::metrics::{Metrics, Outcome};
use request::{UnknownClassifier, Wanted};

/// The service; clones share everything.
#[derive(Clone)]
pub struct Service {
    /// Turns a prompt into the model's tokens.
    pub tokenizer: Arc<Tokenizer>,
    /// Scores them.
    pub engine: Arc<Engine>,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
}

/// One HTTP request that Envoy has us process.
struct Exchange {
    service: Service,
    messages: Streaming<ProcessingRequest>,
    /// Chat completions, unless headers say otherwise: our filter sends no headers, and always that.
    endpoint: Option<Endpoint>,
}

#[tonic::async_trait]
impl ExternalProcessor for Service {
    type ProcessStream = Pin<Box<dyn Stream<Item = Result<ProcessingResponse, Status>> + Send>>;

    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<tonic::Response<Self::ProcessStream>, Status> {
        let exchange = Exchange {
            service: self.clone(),
            messages: request.into_inner(),
            endpoint: Some(Endpoint::ChatCompletions),
        };
        // Answers are made as they are read: when the caller resets the stream, tonic drops this one, and with it the
        // classification in progress.
        let answers = stream::try_unfold(exchange, |mut exchange| async {
            let answer = exchange.next().await?;
            Ok(answer.map(|answer| (answer, exchange)))
        });
        Ok(tonic::Response::new(Box::pin(answers)))
    }
}

impl Exchange {
    /// The answer to the next message; none when the caller's side has ended.
    async fn next(&mut self) -> Result<Option<ProcessingResponse>, Status> {
        use processing_request::Request;
        let Some(message) = self.messages.message().await? else { return Ok(None) };
        let Some(request) = message.request else {
            return Err(Status::invalid_argument("the processing request is empty"));
        };
        let response = match request {
            Request::RequestHeaders(headers) => {
                self.endpoint = request::endpoint(&headers);
                Response::RequestHeaders(HeadersResponse::default())
            }
            Request::RequestBody(body) => {
                return self.classify(&body, message.metadata_context.as_ref()).await.map(Some);
            }
            Request::RequestTrailers(_) => Response::RequestTrailers(TrailersResponse::default()),
            Request::ResponseHeaders(_) => Response::ResponseHeaders(HeadersResponse::default()),
            Request::ResponseBody(_) => Response::ResponseBody(BodyResponse::default()),
            Request::ResponseTrailers(_) => Response::ResponseTrailers(TrailersResponse::default()),
        };
        Ok(Some(ProcessingResponse { response: Some(response), dynamic_metadata: None }))
    }

    async fn classify(
        &self,
        body: &HttpBody,
        metadata: Option<&Metadata>,
    ) -> Result<ProcessingResponse, Status> {
        let clock = self.service.metrics.request();
        let text = self.endpoint.and_then(|endpoint| request::text(endpoint, &body.body));
        let Some(text) = text else {
            clock.end(Outcome::Unclassifiable);
            return Ok(answer::unclassified());
        };
        match self.score(&text, &Wanted::from_metadata(metadata)).await {
            Ok(answer) => {
                clock.end(Outcome::Classified);
                Ok(answer)
            }
            Err((outcome, status)) => {
                clock.end(outcome);
                tracing::debug!(code = ?status.code(), message = status.message(), "no classification");
                Err(status)
            }
        }
    }

    async fn score(&self, text: &str, wanted: &Wanted) -> Result<ProcessingResponse, (Outcome, Status)> {
        let Service { tokenizer, engine, .. } = &self.service;
        let tokens = tokenizer.tokenize(text).map_err(|error| failed(&EngineError::Failed(error)))?;
        let scores = engine.classify(tokens).await.map_err(|error| failed(&error))?;
        let scores = wanted.select(scores).map_err(|UnknownClassifier(name)| {
            let message = format!("the model has no classifier {name:?}");
            (Outcome::UnknownClassifier, Status::invalid_argument(message))
        })?;
        Ok(answer::classified(&scores))
    }
}

fn failed(error: &EngineError) -> (Outcome, Status) {
    let message = error.to_string();
    match error {
        EngineError::Overloaded => (Outcome::Overloaded, Status::resource_exhausted(message)),
        EngineError::ShuttingDown => (Outcome::Failed, Status::unavailable(message)),
        EngineError::Failed(_) => {
            tracing::error!(message);
            (Outcome::Failed, Status::internal(message))
        }
    }
}

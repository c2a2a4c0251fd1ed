//! How far a request has come that is routed here, and what Envoy is told at each step.

use std::sync::Arc;

use llm_router_proto::envoy::service::ext_proc::v3::{HttpHeaders, ProcessingResponse};
use llm_router_routing::admission::{Admission, admit};
use llm_router_routing::config::Config;
use llm_router_routing::outcome::{Head, Outcome};
use llm_router_routing::router::Client;
use llm_router_routing::{headers, model_list};

use super::routed::Routed;
use super::{answer, metadata, request};
use crate::telemetry::metrics::Metrics;
use llm_router_classifier::model::prediction::HeadOutput;

/// How far a request has come.
#[derive(Default)]
pub(super) enum Stage {
    /// Not a request to route, or it goes on as the client sent it, or it was answered here.
    #[default]
    Untouched,
    /// Its body is awaited.
    Reading(Head),
    /// It went on, to the LLM that was chosen; or, in shadow, to the one that the client chose.
    Routed(Box<Routed>),
}

impl Stage {
    /// Takes the router's headers from the client's, and reads those that matter.
    pub(super) fn begin(
        config: &Config,
        message: HttpHeaders,
        metrics: &Arc<Metrics>,
    ) -> (Self, ProcessingResponse) {
        let end_of_stream = message.end_of_stream;
        let headers = request::headers(message);
        let own =
            headers.iter().map(|(name, _)| name).filter(|it| headers::is_own(it, &config.cluster_header));
        let stripped = answer::without_headers(own.cloned().collect());

        let client = Client { path: "", headers: &headers };
        match admit(config, &client, !end_of_stream) {
            Ok(Admission::Prompt(endpoint)) => {
                let path = client.header(":path").unwrap_or_default().to_owned();
                (Self::Reading(Head { endpoint, path, headers }), stripped)
            }
            Ok(Admission::ModelList) => (Self::Untouched, answer::json(200, model_list::to_json(config))),
            Ok(Admission::Untouched) => (Self::Untouched, stripped),
            Err(refusal) => {
                Self::carry_out(config, Outcome::refused(config, refusal), &[], stripped, metrics)
            }
        }
    }

    /// Has Envoy carry the decision out. `scores` are what the classifier said, if it was asked just now; `goes_on` is
    /// the answer to a request that stays as it is.
    pub(super) fn carry_out(
        config: &Config,
        outcome: Outcome,
        scores: &[HeadOutput],
        goes_on: ProcessingResponse,
        metrics: &Arc<Metrics>,
    ) -> (Self, ProcessingResponse) {
        match outcome {
            Outcome::Untouched => (Self::Untouched, goes_on),
            Outcome::Routed { decision, changes } => {
                metrics.decisions.routed(&decision);
                let answer = answer::routed(&decision, changes, scores);
                let routed = Routed::new(decision, config.prices.clone(), Arc::clone(metrics));
                (Self::Routed(Box::new(routed)), answer)
            }
            Outcome::Refused { refusal, answered } => {
                metrics.decisions.refused(&refusal);
                let answer = if answered { answer::refused(&refusal) } else { goes_on };
                let dynamic_metadata = Some(metadata::of_refusal(&refusal));
                (Self::Untouched, ProcessingResponse { dynamic_metadata, ..answer })
            }
        }
    }

    /// Tells the client what was decided.
    pub(super) fn response_headers(&mut self, message: HttpHeaders) -> ProcessingResponse {
        match self {
            Self::Routed(routed) => routed.headers(message),
            Self::Untouched | Self::Reading(_) => answer::explained(Vec::new()),
        }
    }

    /// Reads a piece of the answer.
    pub(super) fn response_body(&mut self, piece: &[u8]) {
        if let Self::Routed(routed) = self {
            routed.body(piece);
        }
    }
}

#[cfg(test)]
mod tests;

//! How far a request has come that is routed here, and what Envoy is told at each step. Pure.

use llm_router_proto::envoy::service::ext_proc::v3::{HttpHeaders, ProcessingResponse};
use llm_router_routing::admission::{Admission, admit};
use llm_router_routing::config::{Config, Mode};
use llm_router_routing::decision::{Decision, Reason};
use llm_router_routing::refusal::Refusal;
use llm_router_routing::request::Endpoint;
use llm_router_routing::rewrite::Rewrite;
use llm_router_routing::router::Client;
use llm_router_routing::{headers, model_list};

use super::{answer, request};
use crate::model::scores::Scores;

/// How far a request has come.
#[derive(Debug, Default)]
pub(super) enum Stage {
    /// Not a request to route, or it goes on as the client sent it, or it was answered here.
    #[default]
    Untouched,
    /// Its body is awaited.
    Reading(Head),
    /// It went on, to the LLM that was chosen; or, in shadow, to the one that the client chose.
    Routed(Box<Decision>),
}

/// What is kept of the request's headers.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) endpoint: Endpoint,
    pub(super) path: String,
    pub(super) headers: Vec<(String, Vec<u8>)>,
}

/// Where a request goes, and how it is changed for that.
#[derive(Debug)]
pub(super) struct Routing {
    pub(super) decision: Decision,
    pub(super) rewrite: Rewrite,
    /// What the classifier said, if it was asked just now and answered.
    pub(super) scores: Option<Scores>,
}

impl Stage {
    /// Takes the router's headers from the client's, and reads those that matter.
    pub(super) fn begin(config: &Config, message: HttpHeaders) -> (Self, ProcessingResponse) {
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
            Err(_) if in_shadow(config) => (Self::Untouched, stripped),
            Err(refusal) => (Self::Untouched, answer::refused(&refusal)),
        }
    }

    /// Makes of a decision what Envoy is told: how to change the request, or to answer it.
    pub(super) fn decided(
        config: &Config,
        head: &Head,
        body: &[u8],
        decided: Result<Option<Routing>, Refusal>,
    ) -> (Self, ProcessingResponse) {
        match decided {
            Ok(None) => (Self::Untouched, answer::unchanged()),
            Ok(Some(routing)) if in_shadow(config) => {
                let decision = Decision { reason: Reason::Shadow, ..routing.decision };
                (Self::Routed(Box::new(decision)), answer::unchanged())
            }
            Ok(Some(Routing { decision, rewrite, scores })) => {
                let body = rewrite.apply(body, &decision.model.upstream);
                let headers = routing_headers(config, head, &decision, body.len());
                let answer = answer::routed(headers, body, scores.as_slice());
                (Self::Routed(Box::new(decision)), answer)
            }
            Err(_) if in_shadow(config) => (Self::Untouched, answer::unchanged()),
            Err(refusal) => (Self::Untouched, answer::refused(&refusal)),
        }
    }

    /// Tells the client what was decided.
    pub(super) fn response_headers(&self) -> ProcessingResponse {
        match self {
            Self::Routed(decision) => {
                let headers = decision.response_headers();
                answer::explained(headers.map(|(name, value)| (name, value.into_owned())).collect())
            }
            Self::Untouched | Self::Reading(_) => answer::explained(Vec::new()),
        }
    }
}

/// The request headers that carry the decision out.
fn routing_headers(
    config: &Config,
    head: &Head,
    decision: &Decision,
    length: usize,
) -> Vec<(String, String)> {
    let model = &decision.model;
    let mut all = vec![(config.cluster_header.clone(), model.cluster.clone())];
    if head.headers.iter().any(|(name, _)| name == "content-length") {
        all.push(("content-length".to_owned(), length.to_string()));
    }
    if let Some(base_path) = &model.base_path {
        all.push((":path".to_owned(), head.endpoint.path_at(&head.path, base_path)));
    }
    if let Some(host) = &model.host {
        all.push((":authority".to_owned(), host.clone()));
    }
    all
}

fn in_shadow(config: &Config) -> bool {
    config.mode == Mode::Shadow
}

#[cfg(test)]
mod tests;

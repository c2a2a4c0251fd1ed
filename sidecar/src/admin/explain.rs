//! `POST /v1/explain`: where a request would go, every step of the decision, and the cost on every model. Nothing is sent to an LLM.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderName, HeaderValue};
use llm_router_classifier::model::prediction::Prediction;
use llm_router_routing::explain::{ConsideredModel, ExplainedStep, Explanation};
use llm_router_routing::headers::Headers;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::background::{Background, TIMEOUT};
use super::error::Error;
use super::policy;
use crate::ext_proc::{ClassifiedText, Explained, ExplainingPolicy, Service};

/// The response shows only the beginning of a classified text, at most this many characters.
const MAX_TEXT: usize = 2000;

/// The request's body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The body of the request to explain.
    request: Box<RawValue>,
    /// Its path.
    #[serde(default = "chat_completions")]
    path: String,
    /// Its headers.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A policy in YAML or JSON, instead of the sidecar's own; a file that contains one is accepted, too.
    policy: Option<String>,
    /// The length of the completion for cost estimates, in tokens.
    #[serde(default = "usual_completion")]
    completion_tokens: u32,
}

fn chat_completions() -> String {
    "/v1/chat/completions".to_owned()
}

fn usual_completion() -> u32 {
    400
}

/// The response's body.
#[derive(Serialize)]
pub(super) struct Output {
    /// The classified texts; empty if the request has no text.
    texts: Vec<Text>,
    /// Empty without a policy.
    steps: Vec<ExplainedStep>,
    /// Null without a policy.
    outcome: Value,
    /// All models of the policy, the chosen one first.
    models: Vec<ConsideredModel>,
    /// Estimated tokens of the prompt.
    prompt_tokens: u64,
    completion_tokens: u32,
}

/// A text, and the prediction of every head.
#[derive(Serialize)]
struct Text {
    /// Its beginning.
    text: String,
    /// The length of the whole text.
    characters: usize,
    /// The beginnings of the earlier messages that were read with it, oldest first.
    context: Vec<String>,
    /// Whether the decision depends on it.
    decides: bool,
    /// `{"tokens", "of", "estimated"}`
    read: Option<Value>,
    /// By head, as `/v1/classify` has them.
    predictions: Map<String, Value>,
    /// Why predictions are missing, if they are.
    error: Option<String>,
    took_ms: f64,
}

pub(super) async fn explain(
    State(background): State<Arc<Background>>,
    body: Result<Json<Input>, JsonRejection>,
) -> Result<Json<Output>, Error> {
    let Json(Input { request, path, headers, policy, completion_tokens }) = body?;
    let headers = request_headers(&path, &headers)?;
    background
        .run(async move |service| {
            let body = request.get().as_bytes();
            let given = policy.map(|text| policy::explainer(&text, body.len())).transpose()?;
            let policy = match (&given, &service.router) {
                (Some(explainer), _) => Some(ExplainingPolicy::Given(explainer)),
                (None, Some(router)) => Some(ExplainingPolicy::Own(router)),
                (None, None) => None,
            };
            let explained = service.explain(policy, headers, body, Instant::now() + TIMEOUT).await;
            Ok(Json(Output::new(explained, completion_tokens, &service)))
        })
        .await
}

impl Output {
    fn new(explained: Explained, completion_tokens: u32, service: &Service) -> Self {
        let Explained { explanation, texts, prompt_tokens } = explained;
        let explanation = explanation.as_ref();
        let considered =
            |explanation: &Explanation| explanation.considered(prompt_tokens, completion_tokens.into());
        Self {
            texts: texts.into_iter().map(|text| Text::new(text, service)).collect(),
            steps: explanation.map(|explanation| explanation.steps().to_vec()).unwrap_or_default(),
            outcome: explanation.map(|explanation| explanation.outcome().clone()).unwrap_or_default(),
            models: explanation.map(considered).unwrap_or_default(),
            prompt_tokens,
            completion_tokens,
        }
    }
}

/// The request's headers as Envoy has them.
fn request_headers(path: &str, headers: &BTreeMap<String, String>) -> Result<Headers, Error> {
    let mut all = vec![(":method".to_owned(), "POST".to_owned()), (":path".to_owned(), path.to_owned())];
    for (name, value) in headers {
        let valid = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
        let (lower_case, _) = valid.ok_or_else(|| Error::Header(name.clone()))?;
        all.push((lower_case.as_str().to_owned(), value.clone()));
    }
    Ok(all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect())
}

impl Text {
    fn new(classified: ClassifiedText, service: &Service) -> Self {
        let ClassifiedText { text, context, decides, prediction, took } = classified;
        let (prediction, error) = match prediction {
            Ok(prediction) => (Some(prediction), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            characters: text.chars().count(),
            text: beginning(&text),
            context: context.iter().map(|message| beginning(message)).collect(),
            decides,
            read: prediction.as_ref().map(|prediction| prediction.read.to_json()),
            predictions: prediction.map(|it| predictions(&it, service)).unwrap_or_default(),
            error,
            took_ms: took.as_secs_f64() * 1e3,
        }
    }
}

fn beginning(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

/// The prediction of every head by its name, with the head's note to its users if it has one.
pub(super) fn predictions(prediction: &Prediction, service: &Service) -> Map<String, Value> {
    let heads = prediction.scores.iter().map(|scores| {
        let mut json = scores.to_json();
        if let (Some(fields), Some(note)) = (json.as_object_mut(), service.pipeline.note(&scores.head)) {
            fields.insert("note".to_owned(), note.into());
        }
        (scores.head.to_string(), json)
    });
    heads.collect()
}

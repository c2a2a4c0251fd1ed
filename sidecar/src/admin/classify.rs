//! `POST /v1/classify`: the prediction of every head for a text.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::background::{Background, TIMEOUT};
use super::error::Error;
use super::explain::predictions;
use llm_router_classifier::model::prediction::Outputs;
use llm_router_classifier::model::tokenizer::Prompt;

/// The request's body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The prompt.
    input: String,
    /// Earlier messages of the same user, oldest first.
    #[serde(default)]
    context: Vec<String>,
}

/// `{HEAD: {"label", "confidence", "scores": {LABEL: confidence}}, "read": {"tokens", "of", "estimated"}}`; a
/// head with a score has `{"score", "scores": {DIMENSION: score}}`. A head's note to its users is in `note`.
pub(super) async fn classify(
    State(background): State<Arc<Background>>,
    body: Result<Json<Input>, JsonRejection>,
) -> Result<Json<Map<String, Value>>, Error> {
    let Json(Input { input, context }) = body?;
    if input.trim().is_empty() {
        return Err(Error::NoText);
    }
    background
        .run(async move |service| {
            let prompt = Prompt { text: &input, context: &context };
            let prediction =
                service.score(prompt, Outputs::Scores, Instant::now().checked_add(TIMEOUT)).await?;
            let heads = predictions(&prediction, &service).into_iter();
            Ok(Json(heads.chain([("read".to_owned(), prediction.read.to_json())]).collect()))
        })
        .await
}

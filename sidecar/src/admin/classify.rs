//! `POST /v1/classify`: what every head says of a text.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::Error;
use crate::ext_proc::Live;
use llm_router_classifier::model::prediction::Outputs;

/// How long a text may wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// The request's body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    input: String,
}

/// `{HEAD: {"label", "confidence", "scores": {LABEL: confidence}}, "read": {"tokens", "of", "estimated"}}`; a head that
/// gives a score has `{"score", "scores": {DIMENSION: score}}`.
pub(super) async fn classify(
    State(live): State<Arc<OnceLock<Live>>>,
    body: Result<Json<Input>, JsonRejection>,
) -> Result<Json<Map<String, Value>>, Error> {
    let Json(Input { input }) = body?;
    if input.trim().is_empty() {
        return Err(Error::NoText);
    }
    let service = live.get().ok_or(Error::Loading)?.current();
    let said = service.score(&input, Outputs::Scores, Instant::now().checked_add(PATIENCE)).await?;
    let heads = said.scores.iter().map(|scores| (scores.head.to_string(), scores.to_json()));
    Ok(Json(heads.chain([("read".to_owned(), said.read.to_json())]).collect()))
}

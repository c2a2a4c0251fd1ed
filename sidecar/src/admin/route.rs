//! `POST /v1/route`: where a chat completion would be routed, and why. Nothing is sent to an LLM.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use llm_router_routing::classification::{Classification, Label};
use llm_router_routing::decision::Decision;
use llm_router_routing::exchange::LocalResponse;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::background::Background;
use super::error::Error;
use crate::ext_proc::DryRun;

/// `{"model", "upstream_model", "cluster", "policy", "label", "confidence", "score", "reason"}`, or the error that the client
/// would get. The caller sends the client's body and headers.
pub(super) async fn route(
    State(background): State<Arc<Background>>,
    headers: HeaderMap,
    body: Result<Json<Box<RawValue>>, JsonRejection>,
) -> Result<Response, Error> {
    let Json(body) = body?;
    // The body is always a chat completion. All other headers are the client's.
    let request = [(":method", b"POST".as_slice()), (":path", b"/v1/chat/completions".as_slice())];
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let headers: Vec<_> =
        request.into_iter().chain(headers).map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    background
        .run(async move |service| {
            let router = service.router.as_ref().ok_or(Error::NoPolicy)?;
            Ok(match service.dry_run(router, headers.into(), body.get().as_bytes()).await {
                DryRun::Routed(decision) => Json(to_json(&decision)).into_response(),
                DryRun::Untouched => Json(json!({"reason": "passthrough"})).into_response(),
                DryRun::Responded(response) => responded(response),
            })
        })
        .await
}

fn to_json(decision: &Decision) -> Value {
    let score = match &decision.classification {
        Some(Classification::Score(score)) => Some(score.get()),
        _ => None,
    };
    let label = decision.classification.as_ref().and_then(|classification| classification.label());
    json!({
        "model": decision.model.name.as_str(),
        "upstream_model": decision.model.upstream,
        "cluster": decision.model.cluster,
        "policy": decision.policy.as_ref().map(|policy| policy.name.as_str()),
        "label": label.map(Label::name),
        "confidence": label.map(Label::confidence),
        "score": score,
        "reason": decision.reason.as_str(),
    })
}

fn responded(local: LocalResponse) -> Response {
    let mut response = Response::builder().status(local.status);
    for (name, value) in local.headers {
        response = response.header(name, value);
    }
    // Never fails: status and headers are constants.
    response.body(Body::from(local.body)).unwrap_or_default()
}

//! `GET /v1/policy`: the outline of the sidecar's policy. `POST /v1/policy`: the outline of the policy in the request.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use llm_router_routing::config::Config;
use llm_router_routing::documents;
use llm_router_routing::explain::{BodyValues, Explainer, PolicyOutline};
use serde::Deserialize;

use super::background::Background;
use super::error::Error;
use super::policy_limits::CompiledSize;

/// The maximum length of a policy in a request, in bytes.
pub(super) const MAX_POLICY: usize = 256 << 10;

/// The request's body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// A policy in YAML or JSON, or a file that contains one.
    policy: String,
}

/// The outline of the sidecar's policy.
pub(super) async fn own(State(background): State<Arc<Background>>) -> Result<Json<PolicyOutline>, Error> {
    let service = background.current()?;
    let router = service.router.as_ref().ok_or(Error::NoPolicy)?;
    Ok(Json(router.config().into()))
}

/// The outline of the policy in the request.
pub(super) async fn given(
    State(background): State<Arc<Background>>,
    body: Result<Json<Input>, JsonRejection>,
) -> Result<Json<PolicyOutline>, Error> {
    let Json(Input { policy }) = body?;
    background
        .run(async move |_| {
            let (config, _) = read(&policy)?;
            Ok(Json((&config).into()))
        })
        .await
}

/// An explainer for the policy in a request. `body` is the length of the request body to explain, in bytes.
pub(super) fn explainer(policy: &str, body: usize) -> Result<Explainer, Error> {
    let (config, size) = read(policy)?;
    size.check_text(body.min(config.prompt.limit))?;
    Ok(Explainer::new(config, BodyValues::Hidden))
}

/// Reads a policy and checks its limits. This may take long.
fn read(text: &str) -> Result<(Config, CompiledSize), Error> {
    if text.len() > MAX_POLICY {
        return Err(Error::PolicyTooLong(text.len()));
    }
    let policy = documents::find_one(text)?;
    let size = CompiledSize::measure(&policy)?;
    Ok((documents::validate(&policy)?, size))
}

//! `GET /v1/policy`: the outline of the sidecar's policy. `POST /v1/policy`: the outline of the policy in the request.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use llm_router_routing::config::Config;
use llm_router_routing::documents;
use llm_router_routing::explain::{BodyValues, Explainer, PolicyOutline};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::background::Background;
use super::error::Error;

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
    // Nothing is classified, but reading a policy keeps a core busy.
    let _permit = background.service().await?;
    with_policy(policy, |config| Json((&config).into())).await
}

/// An explainer for the policy in a request.
pub(super) async fn explainer(policy: String) -> Result<Explainer, Error> {
    with_policy(policy, |config| Explainer::new(config, BodyValues::Hidden)).await
}

/// Reads a policy in a background thread, because that may take long, and converts it.
async fn with_policy<T: Send + 'static>(
    text: String,
    make: impl FnOnce(Config) -> T + Send + 'static,
) -> Result<T, Error> {
    if text.len() > MAX_POLICY {
        return Err(Error::PolicyTooLong(text.len()));
    }
    let made = spawn_blocking(move || documents::parse_one(&text).map(make)).await;
    Ok(made.map_err(|_| Error::PolicyReader)??)
}

//! Errors in OpenAI's format, like the router's own.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use llm_router_classifier::engine::EngineError;

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The request is not as documented.
    #[error("{}", .0.body_text())]
    Request(#[from] JsonRejection),
    /// The text is blank.
    #[error("input: there is no text in it")]
    NoText,
    /// There is no policy to route by.
    #[error("this sidecar has no policy; start it with --policy")]
    NoPolicy,
    /// The model is not loaded yet.
    #[error("the model is not loaded yet")]
    Loading,
    /// Too many requests wait already.
    #[error("too many requests to the admin API wait for the classifier")]
    Busy,
    /// The classifier gave no prediction.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Error {
    fn status(&self) -> StatusCode {
        match self {
            Self::Request(rejection) => rejection.status(),
            Self::NoText => StatusCode::BAD_REQUEST,
            Self::NoPolicy => StatusCode::NOT_FOUND,
            Self::Engine(EngineError::Failed(_)) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Loading | Self::Busy | Self::Engine(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        let kind = if status.is_client_error() { "invalid_request_error" } else { "api_error" };
        let error = json!({"message": self.to_string(), "type": kind, "param": null, "code": null});
        (status, Json(json!({"error": error}))).into_response()
    }
}

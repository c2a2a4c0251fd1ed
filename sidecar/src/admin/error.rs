//! Errors in OpenAI's format, like the router's own.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use llm_router_classifier::engine::EngineError;
use llm_router_routing::documents::DocumentError;

use super::policy::MAX_POLICY;
use super::policy_limits::LimitError;

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The request does not have the documented format.
    #[error("{}", .0.body_text())]
    Request(#[from] JsonRejection),
    /// The text is blank.
    #[error("input: must contain text")]
    NoText,
    /// A header of the request to explain is invalid.
    #[error("headers: {0:?} is not a valid header name, or its value has control characters")]
    Header(String),
    /// The policy that was sent is invalid.
    #[error("policy: {0}")]
    Policy(#[from] DocumentError),
    /// The policy that was sent has too many bytes.
    #[error("policy: has {0} bytes; the maximum is {MAX_POLICY}")]
    PolicyTooLong(usize),
    /// The policy that was sent would take too much memory or time.
    #[error("policy: {0}")]
    PolicyLimit(#[from] LimitError),
    /// The thread of the request panicked.
    #[error("the sidecar cannot process this request; its log has the reason")]
    Panic,
    /// A page of another site sent the request.
    #[error("the Origin does not match the Host: pages of other sites have no access to this API")]
    ForeignOrigin,
    /// The request is for another host.
    #[error(
        "the Host is not allowed: use http://localhost or http://127.0.0.1 with the port, or name the host in --admin-host"
    )]
    ForeignHost,
    /// The sidecar has no policy.
    #[error("this sidecar has no policy; start it with --policy")]
    NoPolicy,
    /// The model is not loaded yet.
    #[error("the model is not loaded yet: try again later")]
    Loading,
    /// Too many requests are waiting.
    #[error("too many requests to the admin API are in progress: try again later")]
    Busy,
    /// The classifier gave no prediction.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Error {
    fn status(&self) -> StatusCode {
        match self {
            Self::Request(rejection) => rejection.status(),
            Self::NoText | Self::Header(_) | Self::Policy(_) | Self::PolicyLimit(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::PolicyTooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ForeignOrigin | Self::ForeignHost => StatusCode::FORBIDDEN,
            Self::NoPolicy => StatusCode::NOT_FOUND,
            Self::Panic | Self::Engine(EngineError::Failed(_)) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Loading | Self::Busy | Self::Engine(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The invalid field, if there is one.
    fn param(&self) -> Option<&'static str> {
        match self {
            Self::NoText => Some("input"),
            Self::Header(_) => Some("headers"),
            Self::Policy(_) | Self::PolicyTooLong(_) | Self::PolicyLimit(_) => Some("policy"),
            _ => None,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        let kind = if status.is_client_error() { "invalid_request_error" } else { "api_error" };
        let error = json!({"message": self.to_string(), "type": kind, "param": self.param(), "code": null});
        (status, Json(json!({"error": error}))).into_response()
    }
}

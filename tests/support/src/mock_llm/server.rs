//! The mock LLM's HTTP server: HTTP/1.1, and HTTP/2 without TLS.

use std::convert::Infallible;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};

use super::reply::{Endpoint, Reply};
use super::{Gate, Received, RequestLog, provider_state};

const MAX_BODY_BYTES: usize = 64 << 20;
const EVENT_INTERVAL: Duration = Duration::from_millis(50);
const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

struct MockLlm {
    cluster: String,
    log: Arc<RequestLog>,
}

/// Serves as the LLM of `cluster` until the listener fails. Tracked requests go to the log.
///
/// # Errors
/// If connections cannot be accepted any more.
pub async fn serve(
    listener: impl Listener<Addr: Debug>,
    cluster: String,
    log: Arc<RequestLog>,
) -> io::Result<()> {
    let llm = Arc::new(MockLlm { cluster, log });
    axum::serve(listener, Router::new().fallback(handle).with_state(llm)).await
}

async fn handle(State(llm): State<Arc<MockLlm>>, request: Request) -> Response {
    let mut response = match receive(&llm.cluster, request).await {
        Ok(request) => {
            llm.log.record(&request);
            llm.reply(&request)
        }
        Err(error) => failure(StatusCode::BAD_REQUEST, &format!("cannot read the body: {error}")),
    };
    if let Ok(cluster) = HeaderValue::from_str(&llm.cluster) {
        response.headers_mut().insert(SERVED_BY, cluster);
    }
    response
}

async fn receive(cluster: &str, request: Request) -> Result<Received, axum::BoxError> {
    let (head, body) = request.into_parts();
    let collected = Limited::new(body, MAX_BODY_BYTES).collect().await?;
    Ok(Received {
        cluster: cluster.to_owned(),
        method: head.method,
        path: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        version: head.version,
        authority: head.uri.authority().map(ToString::to_string),
        headers: head.headers,
        trailers: collected.trailers().cloned().unwrap_or_default(),
        body: collected.to_bytes(),
    })
}

impl MockLlm {
    fn reply(&self, received: &Received) -> Response {
        if let Some(status) = received.failure() {
            return failure(status, "this is a test of failures");
        }
        let path = super::path::understood(&received.path);
        if path.ends_with("/models") {
            let model =
                json!({ "id": self.cluster, "object": "model", "created": 0, "owned_by": "mock-llm" });
            return Json(json!({ "object": "list", "data": [model] })).into_response();
        }
        let Some(endpoint) = Endpoint::from_path(&path) else {
            return failure(StatusCode::NOT_FOUND, &format!("no such path: {path}"));
        };
        let request: Value = match serde_json::from_slice(&received.body) {
            Ok(request) => request,
            Err(error) => return failure(StatusCode::BAD_REQUEST, &format!("the body is not JSON: {error}")),
        };
        if let Some(problem) = provider_state::foreign(&request, &self.cluster) {
            return failure(StatusCode::BAD_REQUEST, &problem);
        }
        let reply = Reply::new(endpoint, &self.cluster, &request);
        if reply.is_stream() {
            events(reply.events(), self.log.gate(&received.headers))
        } else {
            Json(reply.object()).into_response()
        }
    }
}

/// Sends events one by one: as the gate lets them through, or at a model's leisurely pace.
fn events(payloads: Vec<String>, gate: Option<Gate>) -> Response {
    let events = stream::iter(payloads).then(move |payload| {
        let gate = gate.clone();
        async move {
            match gate {
                Some(gate) => gate.pass().await,
                None => tokio::time::sleep(EVENT_INTERVAL).await,
            }
            Ok::<_, Infallible>(event(payload))
        }
    });
    Sse::new(events).into_response()
}

/// An event whose payload has a type is named by it, as in OpenAI's responses and Anthropic's messages.
fn event(payload: String) -> Event {
    let kind =
        serde_json::from_str(&payload).ok().and_then(|data: Value| Some(data["type"].as_str()?.to_owned()));
    let event = kind.map_or_else(Event::default, |kind| Event::default().event(kind));
    event.data(payload)
}

fn failure(status: StatusCode, message: &str) -> Response {
    let error = json!({ "message": message, "type": "mock_error", "param": null, "code": null });
    (status, Body::from(json!({ "error": error }).to_string())).into_response()
}

//! The operators' HTTP API, on an address of its own: metrics, liveness, readiness, and a prompt tried out.

mod classify;
mod error;
mod route;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::{get, post};

use crate::ext_proc::Live;
use crate::telemetry::metrics::Metrics;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Longest body.
const MAX_BODY: usize = 1 << 20;

/// Whether requests should be sent here: from when the model is warm until the stop.
#[derive(Debug, Default)]
pub struct Readiness(AtomicBool);

impl Readiness {
    /// Says so.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The API: `/metrics`, `/healthz` (200 while the process lives), `/readyz` (200 while it is ready, else 503), and
/// `POST /v1/classify` and `/v1/route`, which answer once there is a service.
pub fn router(metrics: Arc<Metrics>, readiness: Arc<Readiness>, live: Arc<OnceLock<Live>>) -> Router {
    Router::new()
        .route("/v1/classify", post(classify::classify))
        .route("/v1/route", post(route::route))
        .with_state(live)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .route("/metrics", get(|State(metrics): State<Arc<Metrics>>| async move { exposition(&metrics) }))
        .with_state(metrics)
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { ready(&readiness) }))
}

fn exposition(metrics: &Metrics) -> impl IntoResponse + use<> {
    ([(CONTENT_TYPE, OPENMETRICS)], metrics.encode())
}

fn ready(readiness: &Readiness) -> impl IntoResponse + use<> {
    if readiness.get() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

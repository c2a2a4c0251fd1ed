//! The operators' HTTP API, on a separate address: metrics, liveness, readiness, dry runs of prompts and requests, and the console,
//! a page that shows them.

mod background;
mod classify;
mod console;
mod error;
mod explain;
mod guard;
mod host;
mod policy;
mod policy_limits;
mod route;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Router, middleware};

use crate::ext_proc::ReloadableService;
use crate::telemetry::metrics::Metrics;
use background::Background;
pub use host::{AllowedHosts, HostName};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The maximum length of a request body.
const MAX_BODY: usize = 1 << 20;

/// Whether the sidecar is ready for requests: from when the model is warm until the process stops.
#[derive(Debug, Default)]
pub struct Readiness(AtomicBool);

impl Readiness {
    /// Marks the sidecar as ready or not ready.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The API: `/metrics`, `/healthz` (200 while the process lives) and `/readyz` (200 while the sidecar is
/// ready and its classifier works, otherwise 503). Pages of the same origin can also use the console,
/// `/v1/classify`, `/v1/route`, `/v1/explain` and `/v1/policy`. These reject requests for hosts that `hosts`
/// does not allow. The endpoints below `/v1` work once the service is loaded.
pub fn router(
    hosts: AllowedHosts,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    service: Arc<OnceLock<ReloadableService>>,
) -> Router {
    Router::new()
        .route("/v1/classify", post(classify::classify))
        .route("/v1/route", post(route::route))
        .route("/v1/explain", post(explain::explain))
        .route("/v1/policy", get(policy::own).post(policy::given))
        .merge(console::router())
        .with_state(Arc::new(Background::new(service.clone())))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(hosts, guard::same_origin_only))
        // Prometheus and the kubelet may use any host name.
        .route("/metrics", get(|State(metrics): State<Arc<Metrics>>| async move { exposition(&metrics) }))
        .with_state(metrics)
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { ready(&readiness, &service) }))
}

fn exposition(metrics: &Metrics) -> impl IntoResponse + use<> {
    ([(CONTENT_TYPE, OPENMETRICS)], metrics.encode())
}

fn ready(readiness: &Readiness, service: &OnceLock<ReloadableService>) -> impl IntoResponse + use<> {
    if !readiness.get() {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    } else if service.get().is_some_and(|service| !service.is_healthy()) {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: the classifier's workers have died\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;

    /// Serves the API while the model is still being loaded.
    async fn serve(readiness: Arc<Readiness>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = router(AllowedHosts::default(), Arc::new(Metrics::new()), readiness, Arc::default());
        tokio::spawn(axum::serve(listener, app).into_future());
        address
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        let response = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut response = String::new();
            stream.read_to_string(&mut response).await.unwrap();
            response
        };
        timeout(Duration::from_secs(60), response).await.expect("no response")
    }

    #[tokio::test]
    async fn it_is_alive_at_once_and_ready_when_set() {
        let readiness = Arc::new(Readiness::default());
        let address = serve(readiness.clone()).await;
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        readiness.set(true);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        readiness.set(false);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"));
    }

    #[tokio::test]
    async fn metrics_are_openmetrics_text() {
        let metrics = get(serve(Arc::default()).await, "/metrics").await;
        assert!(metrics.contains("content-type: application/openmetrics-text"));
        assert!(metrics.contains("llm_router_sidecar_build_info{version=\""));
        assert!(metrics.trim_end().ends_with("# EOF"));
    }
}

//! Readiness: gRPC health and `/readyz`.

use llm_router_classifier::engine::BackendFactory;
use llm_router_sidecar::ext_proc::ReloadableService;
use llm_router_test_support::time::poll;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{PROMPT, Running, Sure, admin, body, exchange, metric, serve, service};

/// A backend whose worker dies before it takes a text.
struct Broken;

impl BackendFactory for Broken {
    type Backend = Sure;

    fn build(self) -> Sure {
        panic!("no backend")
    }
}

/// Waits until the service and the server as a whole have this status.
async fn health(running: &Running, expected: ServingStatus) {
    let channel = Channel::from_shared(format!("http://{}", running.address)).unwrap();
    let mut health = HealthClient::new(channel.connect().await.unwrap());
    for service in ["", llm_router_proto::SERVICE] {
        let reached = async || {
            let request = HealthCheckRequest { service: service.to_owned() };
            let status = health.check(request).await.unwrap().into_inner().status();
            if status == expected { Ok(()) } else { Err(format!("{service:?} is {status:?}")) }
        };
        poll(reached).await;
    }
}

/// Whether `/readyz` returns 200, and its text.
async fn ready(service: &ReloadableService) -> (bool, String) {
    let response = admin(service, "GET /readyz HTTP/1.0\r\n\r\n").await;
    let (head, text) = response.split_once("\r\n\r\n").unwrap();
    (head.starts_with("HTTP/1.0 200"), text.to_owned())
}

#[tokio::test]
async fn a_classifier_that_works_is_ready() {
    let running = serve(Sure, 8).await;
    health(&running, ServingStatus::Serving).await;
    assert_eq!(ready(&running.service).await, (true, "ready\n".to_owned()));
    metric(&running.metrics, "workers 1").await;
}

#[tokio::test]
async fn dead_workers_fail_readiness_until_the_model_is_reloaded() {
    let running = serve(Broken, 8).await;
    health(&running, ServingStatus::NotServing).await;
    metric(&running.metrics, "workers 0").await;
    let (is_ready, text) = ready(&running.service).await;
    assert!(!is_ready && text.contains("workers have died"), "{text}");
    let error = exchange(running.client.clone(), vec![body(PROMPT)]).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");

    running.service.replace(service(None, Sure, 8, running.metrics.clone()));
    health(&running, ServingStatus::Serving).await;
    assert!(ready(&running.service).await.0);
    metric(&running.metrics, "workers 1").await;
    assert!(exchange(running.client, vec![body(PROMPT)]).await.is_ok());
}

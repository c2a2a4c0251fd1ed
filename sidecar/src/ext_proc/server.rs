//! The gRPC server: the service, its health, its limits, and a stop that lets requests finish.

use std::time::Duration;

use anyhow::{Context, Result};
use llm_router_proto::envoy::service::ext_proc::v3::external_processor_server::ExternalProcessorServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;

use super::Service;

/// Longest message without a policy, which has a limit of its own. It bounds the request bodies of Envoy's own filter,
/// which Envoy's buffer limit should do first.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Bodies somewhat over a policy's limit are read too, since they are answered with its 413.
const ROOM_OVER_LIMIT: usize = 2 << 20;

/// Streams that a client may reset before we have seen them. The default (20) takes a burst of disconnecting clients
/// for an attack, and ends the connection under every other request; our clients are our own Envoys.
const MAX_PENDING_RESETS: usize = 100_000;

/// An Envoy that is gone without a word is noticed after the interval and the timeout.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests may take to finish after the stop. Health watches, and streams that Envoy keeps open while an LLM
/// answers, would hold the server for ever; Kubernetes kills after 30 s.
const DRAIN: Duration = Duration::from_secs(20);

/// Serves until `stop`, then until the requests in progress have their answers, [`DRAIN`] at most.
///
/// # Errors
/// If the listener fails.
pub async fn serve(listener: TcpListener, service: Service, stop: CancellationToken) -> Result<()> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ExternalProcessorServer<Service>>().await;
    let max_body = service.router.as_ref().map(|router| router.config().limits.max_body + ROOM_OVER_LIMIT);
    let max_message = max_body.unwrap_or_default().max(MAX_MESSAGE_BYTES);
    let processor = ExternalProcessorServer::new(service).max_decoding_message_size(max_message);

    let stopped = stop.clone();
    let server = Server::builder()
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(health_service)
        .add_service(processor)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), async move {
            stopped.cancelled().await;
            health.set_not_serving::<ExternalProcessorServer<Service>>().await;
            health.set_service_status("", ServingStatus::NotServing).await;
        });
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = server => served.context("the gRPC server failed"),
        () = overdue => {
            tracing::warn!(seconds = DRAIN.as_secs(), "closing connections that are still open");
            Ok(())
        }
    }
}

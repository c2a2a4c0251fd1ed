//! The gRPC server: the service, its health and description, its limits, and a stop that lets requests finish.

use std::io;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tonic::transport::{Server, ServerTlsConfig};
use tonic_health::ServingStatus;

use super::{ReloadableService, health};

/// Streams that a client may reset before the server has seen them. The default (20) takes a burst of disconnecting
/// clients for an attack and closes the connection under every other request; the clients here are the operator's own Envoys.
const MAX_PENDING_RESETS: usize = 100_000;

/// A peer that disappeared without closing the connection is noticed after the interval plus the timeout.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Open streams per connection: one for each request that is being classified or, from Envoy's own filter,
/// waits for its LLM. An Envoy that needs more opens another connection.
const MAX_STREAMS: u32 = 10_000;

/// Bytes of a call's metadata. Envoy's own filter copies the client's `tracestate`, which may be as long as all headers of a
/// request. The default (16 KiB) would reject such a call, and Envoy may then let the request bypass the policy.
const MAX_METADATA: u32 = 1 << 20;

/// Bytes that a stream and a connection may send before the server reads them. A body of ordinary size arrives at once,
/// and a few large ones do not hold up the others.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// How the server runs.
pub struct Settings {
    /// TLS, unless the service is plaintext.
    pub tls: Option<ServerTlsConfig>,
    /// How long requests may take to finish after the stop. Without a limit, health watches and the streams
    /// that Envoy keeps open while an LLM responds would keep the server running.
    pub drain: Duration,
}

/// Serves until `stop`. Then it reports "not serving" to health watchers, sends GOAWAY on all connections, accepts nothing
/// new, and waits for the requests in progress, for as long as the settings allow.
///
/// # Errors
/// If the listener fails, or certificate and key do not fit.
pub async fn serve<C>(
    connections: impl Stream<Item = io::Result<C>>,
    service: ReloadableService,
    settings: Settings,
    stop: CancellationToken,
) -> Result<()>
where
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let (health, health_service) = tonic_health::server::health_reporter();
    health::set(&health, ServingStatus::Serving).await;
    let mut server = Server::builder()
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_METADATA)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    if let Some(tls) = settings.tls {
        server = server.tls_config(tls).context("the TLS certificate, key or client CA is not valid")?;
    }
    let (stopped, reporter, reported) = (stop.clone(), health.clone(), service.clone());
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(llm_router_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("the service's own description is not valid")?;
    let services = server.add_service(health_service).add_service(reflection).add_service(service);
    let server = services.serve_with_incoming_shutdown(connections, async move {
        stopped.cancelled().await;
        health::set(&health, ServingStatus::NotServing).await;
    });
    let overdue = async {
        stop.run_until_cancelled(health::report(&reporter, &reported)).await;
        tokio::time::sleep(settings.drain).await;
    };
    tokio::select! {
        served = server => served.context("the gRPC server failed"),
        () = overdue => {
            tracing::warn!(seconds = settings.drain.as_secs(), "closing connections that are still open");
            Ok(())
        }
    }
}

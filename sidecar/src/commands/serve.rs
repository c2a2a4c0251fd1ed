//! `serve`: loads the model, warms it, and serves until the process is told to end.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use tch::Device;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{ModelArgs, cores};
use crate::admin::{self, Readiness};
use crate::device;
use crate::engine::Engine;
use crate::ext_proc::{Service, server};
use crate::model::Model;
use crate::model::tokenizer::{MAX_TOKENS, Tokenizer};
use crate::telemetry::metrics::Metrics;

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Address of the gRPC service that Envoy calls.
    #[arg(long, env = "LLM_ROUTER_LISTEN", default_value = "127.0.0.1:50051")]
    listen: SocketAddr,
    /// Address of /metrics, /healthz and /readyz.
    #[arg(long, env = "LLM_ROUTER_ADMIN", default_value = "127.0.0.1:9091")]
    admin: SocketAddr,
    /// Prompts that may wait; more are refused at once.
    #[arg(long, env = "LLM_ROUTER_QUEUE", default_value_t = 256)]
    queue: usize,
    /// Prompts classified at the same time, one thread each. Default: as many as there are cores; 1 on CUDA.
    #[arg(long, env = "LLM_ROUTER_WORKERS")]
    workers: Option<std::num::NonZeroUsize>,
}

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
/// If the model is unfit, an address is taken, or a server fails.
pub async fn run(args: ServeArgs) -> Result<()> {
    let metrics = Arc::new(Metrics::new());
    let readiness = Arc::new(Readiness::default());
    let stop = stop_on_signal(readiness.clone())?;

    let admin_listener = bind(args.admin).await?;
    let admin_address = admin_listener.local_addr()?;
    let admin = axum::serve(admin_listener, admin::router(metrics.clone(), readiness.clone()));
    let admin = tokio::spawn(admin.into_future());

    let listener = bind(args.listen).await?;
    let address = listener.local_addr()?;
    let (workers, queue) = (args.workers, args.queue);
    let load_metrics = metrics.clone();
    let load = move || start(&args.model, workers.map(usize::from), queue, load_metrics);
    let (engine, tokenizer) = tokio::task::spawn_blocking(load).await??;
    warm(&engine, &tokenizer).await?;
    if !stop.is_cancelled() {
        readiness.set(true);
    }
    tracing::info!(%address, admin = %admin_address, "serving");

    let service = Service { tokenizer: Arc::new(tokenizer), engine: engine.clone(), metrics };
    let served = server::serve(listener, service, stop).await;
    tokio::task::spawn_blocking(move || engine.shut_down()).await?;
    admin.abort();
    served
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

fn start(
    args: &ModelArgs,
    workers: Option<usize>,
    queue: usize,
    metrics: Arc<Metrics>,
) -> Result<(Arc<Engine>, Tokenizer)> {
    let device = device::select(args.device)?;
    let (model, tokenizer) = Model::load(&args.model, device)?;
    let workers = workers.unwrap_or(if device == Device::Cpu { cores() } else { 1 });
    let heads: Vec<_> = model.heads().collect();
    tracing::info!(model = %args.model.display(), ?heads, ?device, workers, queue, "model loaded");
    let engine = Engine::start(vec![model; workers], queue, metrics)?;
    Ok((Arc::new(engine), tokenizer))
}

/// Classifies a short and the longest text, so that no request pays for what libtorch does at first use.
async fn warm(engine: &Engine, tokenizer: &Tokenizer) -> Result<()> {
    for words in [8, MAX_TOKENS] {
        engine.classify(tokenizer.tokenize(&"warm ".repeat(words))?).await?;
    }
    Ok(())
}

/// A token that is cancelled by SIGTERM or Ctrl-C, when the process also stops being ready.
fn stop_on_signal(readiness: Arc<Readiness>) -> Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let signalled = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping; requests in progress are finished");
        readiness.set(false);
        signalled.cancel();
    });
    Ok(stop)
}

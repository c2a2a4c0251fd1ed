//! `serve`: loads the model, warms it, and serves until the process is asked to stop.

pub mod address;
pub mod connections;
pub mod listener;
mod load;
mod memory;
mod options;
mod reload;
pub mod tls;
mod watch;

use std::sync::{Arc, OnceLock};

use anyhow::Result;
use llm_router_classifier::load::Loader;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, AllowedHosts, Readiness};
use crate::capture::Capture;
use crate::ext_proc::ReloadableService;
use crate::ext_proc::server::{self, Settings};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::{self, Export};
use listener::{AdminListener, Listener};
use load::ServiceLoader;
pub use options::ServeArgs;
use reload::Reloader;

/// Serves until SIGTERM or Ctrl-C, which also end the load of model and policy. Threads that read files may then still be blocked,
/// so do not wait for all threads of the runtime.
///
/// # Errors
/// If the policy is not valid, the model is unfit, an address is taken, or a server fails.
pub async fn run(args: ServeArgs) -> Result<()> {
    let traces = traces::start()?;
    let (body_memory, reload_interval) = (args.body_memory()?, args.reload_interval());
    let settings = Settings { tls: args.tls.load()?, drain: args.drain_timeout };
    let metrics = Arc::new(Metrics::new());
    let readiness = Arc::new(Readiness::default());
    let stop = stop_on_signal(readiness.clone())?;
    // From here on, SIGHUP does not end the process.
    let hangup = signal(SignalKind::hangup())?;

    let loaded = Arc::new(OnceLock::new());
    let admin_listener = AdminListener::bind(args.admin).await?;
    let admin_address = admin_listener.address();
    let admin = axum::serve(
        admin_listener,
        admin::router(
            AllowedHosts::new(args.admin_host.clone()),
            metrics.clone(),
            readiness.clone(),
            loaded.clone(),
        ),
    );
    let admin = tokio::spawn(admin.into_future());
    let listener = Listener::bind(&args.listen, args.socket_mode).await?;
    let address = listener.address()?;

    let loading = load(args, &metrics, body_memory);
    let Some(reloader) = stop.run_until_cancelled(loading).await else { return Ok(()) };
    let reloader = reloader?;
    let (service, capture) = (reloader.service.clone(), reloader.loader.capture.clone());
    // Never fails: nothing else sets it.
    let _ = loaded.set(service.clone());
    let reloader = tokio::spawn(reloader.run(reload_interval, hangup));

    if !stop.is_cancelled() {
        readiness.set(true);
    }
    tracing::info!(%address, admin = %admin_address, tls = settings.tls.is_some(), "serving");
    let served = match listener {
        Listener::Tcp(tcp) => server::serve(listener::tcp(tcp), service.clone(), settings, stop).await,
        Listener::Unix(unix, _file) => {
            server::serve(listener::unix(unix), service.clone(), settings, stop).await
        }
    };
    reloader.abort();
    let pipeline = service.current().pipeline.clone();
    spawn_blocking(move || {
        pipeline.shut_down();
        capture.inspect(Capture::flush);
        traces.map(Export::shut_down)
    })
    .await?;
    admin.abort();
    served
}

/// Loads the service, and returns what reloads it.
async fn load(args: ServeArgs, metrics: &Arc<Metrics>, body_memory: usize) -> Result<Reloader> {
    let watches = reload::watches(args.engine.model(), args.policy.as_deref()).await?;
    let model = Loader::new(&args.engine, metrics.classifier.clone())?;
    let captures = metrics.captures.clone();
    let loader = ServiceLoader {
        capture: spawn_blocking(move || Capture::start(&args.capture, captures)).await??,
        model,
        policy: args.policy,
        metrics: metrics.clone(),
        assumed_body_mode: args.assume_body_mode,
        body_timeout: args.body_timeout,
    };
    let service = ReloadableService::new(loader.load().await?, body_memory);
    Ok(Reloader { service, loader, reloads: metrics.reloads.clone(), watches })
}

/// A token that SIGTERM or Ctrl-C cancels. The process then stops being ready, too.
fn stop_on_signal(readiness: Arc<Readiness>) -> Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let signalled = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        readiness.set(false);
        signalled.cancel();
        tracing::info!("stopping; requests in progress are finished");
    });
    Ok(stop)
}

//! `serve`: loads the model, warms it, and serves until the process is told to end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use llm_router_routing::config::Config;
use tch::Device;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{ModelArgs, cores};
use crate::admin::{self, Readiness};
use crate::device;
use crate::engine::{Batching, Engine};
use crate::ext_proc::{PolicyRouter, Service, server};
use crate::model::Model;
use crate::model::scores::Want;
use crate::model::tokenizer::{MAX_TOKENS, Tokenizer};
use crate::policy::{documents, find};
use crate::telemetry::metrics::Metrics;

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Routing policy, YAML or JSON, by which requests from Envoy's own ext_proc filter are routed. Without one, they
    /// are only classified. What our Wasm filter asks is the same either way: it has its policy itself.
    #[arg(long, env = "LLM_ROUTER_POLICY", value_name = "FILE")]
    policy: Option<PathBuf>,
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
/// If the policy is not valid, the model is unfit, an address is taken, or a server fails.
pub async fn run(args: ServeArgs) -> Result<()> {
    let policy = args.policy.as_deref().map(read_policy).transpose()?;
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
    let (engine, tokenizer, heads) = tokio::task::spawn_blocking(load).await??;
    if let Some(policy) = &policy {
        warn_of_missing(policy, &heads);
    }
    warm(&engine, &tokenizer).await?;
    if !stop.is_cancelled() {
        readiness.set(true);
    }
    tracing::info!(%address, admin = %admin_address, "serving");

    let router = policy.map(|policy| Arc::new(PolicyRouter::new(policy)));
    let service = Service { tokenizer: Arc::new(tokenizer), engine: engine.clone(), metrics, router };
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
) -> Result<(Arc<Engine>, Tokenizer, Vec<String>)> {
    let device = device::select(args.device)?;
    let (model, tokenizer) = Model::load(&args.model, device)?;
    let workers = workers.unwrap_or(if device == Device::Cpu { cores() } else { 1 });
    let heads: Vec<_> = model.heads().map(ToString::to_string).collect();
    tracing::info!(model = %args.model.display(), ?heads, ?device, workers, queue, "model loaded");
    let engine = Engine::start(vec![model; workers], queue, Batching::Alone, metrics)?;
    Ok((Arc::new(engine), tokenizer, heads))
}

/// The one policy of a file.
fn read_policy(path: &Path) -> Result<Config> {
    let mut policies = Vec::new();
    for document in documents(path)? {
        policies.extend(find::find(&document));
    }
    match (policies.pop(), policies.len()) {
        (Some(found), 0) => found.policy.with_context(|| format!("{} is not a valid policy", path.display())),
        (None, _) => bail!("{} has no policy", path.display()),
        (Some(_), others) => bail!("{} has {} policies, serve takes one", path.display(), others + 1),
    }
}

/// No error, since the policy says what to do without its classifier; but hardly what was meant.
fn warn_of_missing(policy: &Config, heads: &[String]) {
    for policy in policy.policies() {
        let classifier = policy.classifier.as_str();
        if !heads.iter().any(|head| head == classifier) {
            tracing::warn!(policy = policy.name.as_str(), classifier, "the model has no such classifier");
        }
    }
}

/// Classifies a short and the longest text, so that no request pays for what libtorch does at first use.
async fn warm(engine: &Engine, tokenizer: &Tokenizer) -> Result<()> {
    for words in [8, MAX_TOKENS] {
        let text = tokenizer.tokenize(&"warm ".repeat(words))?;
        engine.classify(text, Want::ScoresAndEmbedding, None).await?;
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const POLICY: &str = "sidecar: {cluster: c}\ndefault_policy: p\nmodels: {m: {cluster: c, model: m}}\n\
                          policies: {p: {classifier: task, routes: {}, default: m}}\n";

    fn read(text: &str) -> Result<Config> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        read_policy(file.path())
    }

    #[test]
    fn a_policy_is_read_alone_or_where_it_is_embedded() {
        assert_eq!(read(POLICY).unwrap().default_policy.name.as_str(), "p");
        let map = format!("kind: ConfigMap\ndata:\n  policy.yaml: |\n    {}", POLICY.replace('\n', "\n    "));
        assert_eq!(read(&map).unwrap().default_policy.name.as_str(), "p");
    }

    #[test]
    fn what_is_not_one_valid_policy_is_refused_and_says_why() {
        for (text, reason) in [
            (POLICY.replace("default: m", "default: nope"), "nope"),
            ("kind: Deployment\n".to_owned(), "no policy"),
            (format!("{POLICY}---\n{POLICY}"), "2 policies"),
        ] {
            let error = format!("{:#}", read(&text).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
    }
}

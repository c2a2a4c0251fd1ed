//! What `serve` can be told.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use llm_router_classifier::args::{EngineArgs, duration};

use super::address::ListenAddress;
use super::memory;
use super::tls::TlsArgs;

/// Options of `serve`. Each can be given as a flag, as an environment variable, or in the file of `--config`; the first
/// of these that has it counts.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// YAML file with any of these options, named as the flags are, without dashes in front.
    #[arg(long, env = "LLM_ROUTER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
    /// Routing policy, YAML or JSON, by which requests from Envoy's own ext_proc filter are routed. Without one, they
    /// are only classified. What our Wasm filter asks is the same either way: it has its policy itself.
    #[arg(long, env = "LLM_ROUTER_POLICY", value_name = "FILE")]
    pub(super) policy: Option<PathBuf>,
    /// Where Envoy calls the gRPC service: ADDRESS:PORT, or unix:PATH.
    #[arg(long, env = "LLM_ROUTER_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    pub(super) listen: ListenAddress,
    /// Permissions of the Unix socket, octal. Envoy needs to write to it.
    #[arg(long, env = "LLM_ROUTER_SOCKET_MODE", value_name = "MODE", default_value = "660", value_parser = octal)]
    pub(super) socket_mode: u32,
    #[command(flatten)]
    pub(super) tls: TlsArgs,
    /// Address of /metrics, /healthz, /readyz, /v1/classify and /v1/route.
    #[arg(long, env = "LLM_ROUTER_ADMIN", value_name = "ADDRESS", default_value = "127.0.0.1:9091")]
    pub(super) admin: SocketAddr,
    /// Megabytes that the bodies of all requests may take at a time; more are refused at once. Default: a quarter of the
    /// memory that the cgroup, or the machine, has.
    #[arg(long, env = "LLM_ROUTER_BODY_MEMORY", value_name = "MB")]
    pub(super) body_memory: Option<NonZeroUsize>,
    /// Time between two checks of the policy's and the model's files, which are loaded again once they have changed and
    /// then stayed the same for one interval. 0: only on SIGHUP.
    #[arg(long, env = "LLM_ROUTER_RELOAD_INTERVAL", value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(super) reload_interval: Duration,
    /// How long requests may take to finish after SIGTERM. Kubernetes kills the process after 30 s by default.
    #[arg(long, env = "LLM_ROUTER_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "20s", value_parser = duration)]
    pub(super) drain_timeout: Duration,
}

impl ServeArgs {
    /// Bytes that bodies may take.
    pub(super) fn body_memory(&self) -> Result<usize> {
        if let Some(megabytes) = self.body_memory {
            return Ok(megabytes.get() << 20);
        }
        let limit = memory::limit()
            .context("the system does not tell how much memory there is; set --body-memory")?;
        Ok(usize::try_from(limit / 4)?)
    }
}

fn octal(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "not an octal mode of at most 777, such as 660".to_owned())
}

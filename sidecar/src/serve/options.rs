//! Options of `serve`.

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
use crate::admin::HostName;
use crate::capture::CaptureArgs;
use crate::ext_proc::AssumedBodyMode;

/// Options of `serve`. Each can be set by a flag, by an environment variable, or in the file of `--config`, in this order
/// of precedence.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// YAML file with any of these options, named like the flags without the leading dashes.
    #[arg(long, env = "LLM_ROUTER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
    /// Routing policy, YAML or JSON, for requests from Envoy's own ext_proc filter. Without a policy, the sidecar only
    /// classifies them. The Wasm filter and the dynamic module have their own policy.
    #[arg(long, env = "LLM_ROUTER_POLICY", value_name = "FILE")]
    pub(super) policy: Option<PathBuf>,
    /// Address of the gRPC service: ADDRESS:PORT, or unix:PATH.
    #[arg(long, env = "LLM_ROUTER_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    pub(super) listen: ListenAddress,
    /// Permissions of the Unix socket, octal. Envoy needs write permission.
    #[arg(long, env = "LLM_ROUTER_SOCKET_MODE", value_name = "MODE", default_value = "660", value_parser = octal)]
    pub(super) socket_mode: u32,
    #[command(flatten)]
    pub(super) tls: TlsArgs,
    /// Address of the console, /metrics, /healthz, /readyz and the admin API.
    #[arg(long, env = "LLM_ROUTER_ADMIN", value_name = "ADDRESS", default_value = "127.0.0.1:9091")]
    pub(super) admin: SocketAddr,
    /// Host names by which the console and the admin API may be opened, besides localhost and IP addresses:
    /// for example the name of a Kubernetes Service. Requests for other hosts are rejected.
    #[arg(long, env = "LLM_ROUTER_ADMIN_HOST", value_name = "NAME,..", value_delimiter = ',')]
    pub(super) admin_host: Vec<HostName>,
    #[command(flatten)]
    pub(super) capture: CaptureArgs,
    /// Maximum memory for the bodies of all requests in progress, in megabytes; requests beyond it are rejected at once.
    /// Default: a quarter of the memory of the cgroup or the machine.
    #[arg(long, env = "LLM_ROUTER_BODY_MEMORY", value_name = "MB")]
    body_memory: Option<NonZeroUsize>,
    /// How a proxy sends request bodies if it does not announce it. Has no effect with Envoy 1.34 and later, which announces
    /// it.
    #[arg(long, env = "LLM_ROUTER_ASSUME_BODY_MODE", value_name = "MODE", default_value = "buffered")]
    pub(super) assume_body_mode: AssumedBodyMode,
    /// Time limit for a request body that arrives in chunks; after it the request is rejected with 408.
    #[arg(long, env = "LLM_ROUTER_BODY_TIMEOUT", value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(super) body_timeout: Duration,
    /// Interval at which the policy and model files are checked for changes. Changed files are reloaded after one interval
    /// without further changes. 0: reload only on SIGHUP.
    #[arg(long, env = "LLM_ROUTER_RELOAD_INTERVAL", value_name = "DURATION", default_value = "5s", value_parser = duration)]
    reload_interval: Duration,
    /// Time limit for requests in progress after SIGTERM. Kubernetes kills the process after 30 s by default.
    #[arg(long, env = "LLM_ROUTER_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "20s", value_parser = duration)]
    pub(super) drain_timeout: Duration,
}

impl ServeArgs {
    /// The maximum memory for the bodies of all requests in progress, in bytes.
    pub(super) fn body_memory(&self) -> Result<usize> {
        if let Some(megabytes) = self.body_memory {
            let bytes = megabytes.get().checked_mul(1 << 20);
            return bytes.with_context(|| {
                format!("--body-memory {megabytes} is more than the address space: use a smaller number")
            });
        }
        let limit = memory::limit().context("the system does not report its memory; set --body-memory")?;
        Ok(usize::try_from(limit / 4)?)
    }

    /// The interval between checks for changed files; none if only SIGHUP reloads.
    pub(super) fn reload_interval(&self) -> Option<Duration> {
        (!self.reload_interval.is_zero()).then_some(self.reload_interval)
    }
}

fn octal(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "not an octal mode of at most 777, such as 660".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn parse(flag: &str, value: &str) -> ServeArgs {
        Cli::parse_from(["serve", flag, value]).serve
    }

    #[test]
    fn body_memory_is_in_megabytes_that_can_be_addressed() {
        assert_eq!(parse("--body-memory", "3").body_memory().unwrap(), 3 << 20);
        let too_many = (usize::MAX >> 20) + 1;
        let error = parse("--body-memory", &too_many.to_string()).body_memory().unwrap_err();
        assert!(error.to_string().contains(&format!("--body-memory {too_many}")), "{error}");
    }

    #[test]
    fn an_interval_of_zero_is_none() {
        assert_eq!(parse("--reload-interval", "0").reload_interval(), None);
        assert_eq!(parse("--reload-interval", "200ms").reload_interval(), Some(Duration::from_millis(200)));
    }
}

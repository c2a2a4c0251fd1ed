//! The state that all requests of one configuration share, on all workers.

use std::sync::Arc;

use llm_router_filter_common::request::RequestEncoder;
use llm_router_filter_common::warnings::Warnings;
use llm_router_routing::cache::CachingRouter;
use llm_router_routing::config::Config;

use crate::abi::LogLevel;
use crate::responses::ProcessResponses;
use crate::stats::Stats;
use crate::{clock, log};

/// A configured router. Its locks are held for a lookup only, never during a call into Envoy.
#[derive(Debug)]
pub(crate) struct Gateway {
    router: Arc<CachingRouter>,
    pub(crate) encoder: RequestEncoder,
    pub(crate) stats: Stats,
    /// The `:authority` of calls to the sidecar.
    pub(crate) authority: String,
    /// Whether Envoy's log level was `debug` when Envoy created the configuration.
    pub(crate) logs_decisions: bool,
    warnings: Warnings,
}

impl Gateway {
    pub(crate) fn new(config: Config, stats: Stats) -> Self {
        Self {
            authority: authority(&config.sidecar.cluster).to_owned(),
            router: Arc::new(CachingRouter::with_shared_responses(config, Some(Box::new(ProcessResponses)))),
            encoder: RequestEncoder::default(),
            stats,
            logs_decisions: log::is_enabled(LogLevel::Debug),
            warnings: Warnings::default(),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        self.router.config()
    }

    pub(crate) fn router(&self) -> Arc<CachingRouter> {
        Arc::clone(&self.router)
    }

    /// Logs a warning, unless one was logged just before.
    pub(crate) fn warn(&self, message: impl FnOnce() -> String) {
        if let Some(message) = self.warnings.limit(clock::now(), message) {
            log::write(LogLevel::Warn, &message);
        }
    }
}

/// The cluster's name, if it is a valid authority. Istio's `outbound|50051||sidecar.llm.svc.cluster.local` is not.
fn authority(cluster: &str) -> &str {
    let is_host = cluster.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if is_host && !cluster.is_empty() { cluster } else { "sidecar" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_the_authority_if_servers_take_its_name() {
        assert_eq!(authority("llm-router-sidecar"), "llm-router-sidecar");
        for name in ["outbound|50051||sidecar.llm.svc.cluster.local", "a/b", "a:b", ""] {
            assert_eq!(authority(name), "sidecar", "{name}");
        }
    }
}

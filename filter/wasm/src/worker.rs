//! The state that the requests of a worker share.

use std::sync::Arc;

use llm_router_filter_common::warnings::Warnings;
use llm_router_routing::cache::CachingRouter;
use llm_router_routing::config::{Config, Mode};
use log::warn;

use crate::body_watchdog::BodyWatchdog;
use crate::host;
use crate::recorder::Recorder;
use crate::shared_responses::HostResponses;
use crate::sidecar_client::SidecarClient;
use crate::stats::Stats;

/// One of Envoy's workers, with its configuration.
pub(crate) struct Worker {
    router: Arc<CachingRouter>,
    /// The maximum growth of a body by rewriting, in bytes; 0 in shadow mode, which rewrites nothing.
    pub(crate) headroom: usize,
    pub(crate) sidecar: SidecarClient,
    pub(crate) stats: Stats,
    warnings: Warnings,
    pub(crate) body_watchdog: BodyWatchdog,
}

impl Worker {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            headroom: if config.mode == Mode::Shadow { 0 } else { config.body_growth() },
            sidecar: SidecarClient::new(&config.sidecar.cluster),
            router: Arc::new(CachingRouter::with_shared_responses(config, Some(Box::new(HostResponses)))),
            stats: Stats::default(),
            warnings: Warnings::default(),
            body_watchdog: BodyWatchdog::default(),
        }
    }

    /// Logs a warning, unless one was logged just before.
    pub(crate) fn warn(&self, message: impl FnOnce() -> String) {
        if let Some(message) = self.warnings.limit(host::now(), message) {
            warn!("{message}");
        }
    }

    pub(crate) fn router(&self) -> Arc<CachingRouter> {
        Arc::clone(&self.router)
    }

    /// The recorder of a request's events.
    pub(crate) fn recorder(&self) -> Recorder<'_> {
        let config = self.router.config();
        Recorder { config, stats: &self.stats, sets_filter_state: config.filter_state }
    }

    /// The recorder of events of a request that is over. Its filter state no longer changes.
    pub(crate) fn final_recorder(&self) -> Recorder<'_> {
        Recorder { sets_filter_state: false, ..self.recorder() }
    }
}

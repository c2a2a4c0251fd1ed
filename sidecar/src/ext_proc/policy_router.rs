//! The sidecar's policy, with its caches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use llm_router_routing::cache::CachingRouter;
use llm_router_routing::config::Config;
use llm_router_routing::exchange::Exchange;
use llm_router_routing::explain::{BodyValues, Explainer};

/// Starts exchanges that follow one policy, for all of the sidecar's threads.
pub struct PolicyRouter {
    router: Arc<CachingRouter>,
    /// For dry runs. It enforces and caches nothing, and shows the decision even if the policy is in shadow
    /// mode.
    dry_run: Explainer,
    started: Instant,
}

impl PolicyRouter {
    /// A router by this policy.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            // Hidden, because everyone who reaches the admin API can read explanations.
            dry_run: Explainer::new(config.clone(), BodyValues::Hidden),
            router: Arc::new(CachingRouter::new(config)),
            started: Instant::now(),
        }
    }

    /// The policy.
    #[must_use]
    pub fn config(&self) -> &Config {
        self.router.config()
    }

    pub(super) fn exchange(&self) -> Exchange {
        Exchange::new(Arc::clone(&self.router))
    }

    pub(super) fn dry_run(&self) -> Exchange {
        self.dry_run.exchange()
    }

    /// Explains requests by this policy.
    pub(crate) fn explainer(&self) -> &Explainer {
        &self.dry_run
    }

    /// The clock of the caches.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

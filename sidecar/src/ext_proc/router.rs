//! The policy that the sidecar was given, and what it remembers of past decisions.

use std::time::{Duration, Instant};

use llm_router_routing::cache::CachingRouter;
use llm_router_routing::config::Config;
use llm_router_routing::decision::Decision;
use llm_router_routing::rejection::Rejection;
use llm_router_routing::request::Request;
use llm_router_routing::router::{Answer, Client, Pending, Plan};
use parking_lot::Mutex;

/// A router for all of the sidecar's threads.
pub struct PolicyRouter {
    config: Config,
    router: Mutex<CachingRouter>,
    started: Instant,
}

impl PolicyRouter {
    /// A router by this policy.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let router = Mutex::new(CachingRouter::new(config.clone()));
        Self { config, router, started: Instant::now() }
    }

    /// The policy.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn plan(&self, request: &Request<'_>, client: &Client<'_>) -> Result<Plan, Rejection> {
        self.router.lock().plan(request, client, self.now())
    }

    pub(super) fn decide(&self, pending: &Pending, answer: Answer) -> Result<Decision, Rejection> {
        self.router.lock().decide(pending, answer, self.now())
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

//! The plugin's root: validates the configuration, and makes a context for each request.

use std::cell::RefCell;
use std::rc::Rc;

use llm_router_routing::config::{Config, Mode};
use llm_router_routing::memory::RememberingRouter;
use log::{error, info};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use crate::classifier::Calls;
use crate::configuration;
use crate::failover::Attempt;
use crate::host;
use crate::http::Http;
use crate::stats::{self, Stats};
use crate::warnings::Warnings;

/// Before this minor version of Envoy 1, `Pause` in the headers' callback hangs the request.
const OLDEST_ENVOY_MINOR: u64 = 35;

/// One in each of Envoy's workers, and one on its main thread.
#[derive(Default)]
pub(crate) struct Root(Role);

/// What the plugin is there for.
#[derive(Default)]
enum Role {
    /// Envoy has not configured us yet; it makes no request contexts before.
    #[default]
    Unknown,
    /// The filter that decides.
    Router(Rc<Shared>),
    /// The filter in front of the LLMs; its `root_id` says so.
    Failover,
}

/// The `root_id` of the plugin in front of the LLMs.
const FAILOVER_ROOT: &str = "failover";

/// What the requests of a worker share.
pub(crate) struct Shared {
    pub(crate) router: RefCell<RememberingRouter>,
    pub(crate) config: Config,
    /// Bytes that a body can need for its rewriting; none in shadow, where nothing is rewritten.
    pub(crate) room: usize,
    pub(crate) calls: Calls,
    pub(crate) stats: Stats,
    pub(crate) warnings: Warnings,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        if let Err(minor) = check_envoy() {
            error!(
                "Envoy 1.{minor} cannot hold request headers for a Wasm filter; \
                 use Envoy 1.{OLDEST_ENVOY_MINOR} or later, or its ext_proc filter with the same sidecar"
            );
            return false;
        }
        if host::text_property(&["plugin_root_id"]).as_deref() == Some(FAILOVER_ROOT) {
            self.0 = Role::Failover;
            return true;
        }
        match Config::from_json(&configuration::to_json(&host::plugin_configuration())) {
            Ok(config) => {
                info!("configured: default policy {}, mode {:?}", config.default_policy.name, config.mode);
                let router = RefCell::new(RememberingRouter::new(config.clone()));
                let room = if config.mode == Mode::Shadow { 0 } else { config.body_growth() };
                self.0 = Role::Router(Rc::new(Shared {
                    router,
                    config,
                    room,
                    calls: Calls::default(),
                    stats: Stats::default(),
                    warnings: Warnings::default(),
                }));
                host::tick_every(stats::FLUSH_INTERVAL);
                true
            }
            Err(error) => {
                error!("the configuration is refused: {error}");
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let Role::Router(shared) = &self.0 {
            shared.stats.flush();
        }
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        match &self.0 {
            Role::Unknown => None,
            Role::Router(shared) => Some(Box::new(Http::new(Rc::clone(shared)))),
            Role::Failover => Some(Box::new(Attempt::default())),
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// The minor version, if it is too old. An unknown one is let pass: not every build tells.
fn check_envoy() -> Result<(), u64> {
    let version = |part| host::number_property(&["xds", "node", "user_agent_build_version", "version", part]);
    match (version("major_number"), version("minor_number")) {
        (Some(1), Some(minor)) if minor < OLDEST_ENVOY_MINOR => Err(minor),
        _ => Ok(()),
    }
}

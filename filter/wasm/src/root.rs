//! The plugin's root: validates the configuration, and makes a context for each request.

use std::cell::RefCell;
use std::rc::Rc;

use llm_router_routing::cache::CachingRouter;
use llm_router_routing::config::{Config, Mode};
use log::{error, info};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use crate::classifier::SidecarClient;
use crate::configuration;
use crate::envoy_version::{self, Need};
use crate::failover::Attempt;
use crate::first_body::FirstBody;
use crate::host;
use crate::http::Http;
use crate::stats::{self, Stats};
use crate::warnings::Warnings;

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
    pub(crate) router: RefCell<CachingRouter>,
    pub(crate) config: Config,
    /// Bytes that a body can need for its rewriting; none in shadow, where nothing is rewritten.
    pub(crate) room: usize,
    pub(crate) sidecar: SidecarClient,
    pub(crate) stats: Stats,
    pub(crate) warnings: Warnings,
    pub(crate) first_body: FirstBody,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let is_failover = host::text_property(&["plugin_root_id"]).as_deref() == Some(FAILOVER_ROOT);
        let need = if is_failover { Need::FreshCluster } else { Need::HeldHeaders };
        if let Err(too_old) = envoy_version::check(need) {
            error!("{too_old}");
            return false;
        }
        if is_failover {
            self.0 = Role::Failover;
            return true;
        }
        match Config::from_json(&configuration::to_json(&host::plugin_configuration())) {
            Ok(config) => {
                info!("configured: default policy {}, mode {:?}", config.default_policy.name, config.mode);
                let router = RefCell::new(CachingRouter::new(config.clone()));
                let room = if config.mode == Mode::Shadow { 0 } else { config.body_growth() };
                let sidecar = SidecarClient::new(&config.sidecar.cluster);
                self.0 = Role::Router(Rc::new(Shared {
                    router,
                    config,
                    room,
                    sidecar,
                    stats: Stats::default(),
                    warnings: Warnings::default(),
                    first_body: FirstBody::default(),
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
            if shared.first_body.is_missing(host::now) {
                error!(
                    "Envoy shows the filter no request body; unless the client is slow, the plugin's configuration lacks \
                     allow_on_headers_stop_iteration: true, and requests hang"
                );
            }
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

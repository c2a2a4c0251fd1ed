//! The plugin's root: validates the configuration, and makes a context for each request.

use std::rc::Rc;

use llm_router_routing::config::Config;
use log::{error, info};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use crate::configuration;
use crate::envoy_version::{self, Need};
use crate::host;
use crate::retry_filter::RetryFilter;
use crate::router_filter::RouterFilter;
use crate::stats;
use crate::worker::Worker;

/// One in each of Envoy's workers, and one on its main thread.
#[derive(Default)]
pub(crate) struct Root(Role);

/// The role of the plugin.
#[derive(Default)]
enum Role {
    /// Envoy has not configured us yet; it makes no request contexts before.
    #[default]
    Unknown,
    /// The filter that decides.
    Router(Rc<Worker>),
    /// The filter in front of the LLMs; selected by its `root_id`.
    Failover,
}

/// The `root_id` of the plugin in front of the LLMs.
const FAILOVER_ROOT: &str = "failover";

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
                self.0 = Role::Router(Rc::new(Worker::new(config)));
                host::tick_every(stats::FLUSH_INTERVAL);
                true
            }
            Err(error) => {
                error!("the configuration is rejected: {error}");
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let Role::Router(worker) = &self.0 {
            worker.stats.flush();
            if worker.body_watchdog.is_missing(host::now) {
                error!(
                    "no request body has reached the filter; unless the client is slow, the plugin's configuration lacks \
                     allow_on_headers_stop_iteration: true, and requests hang"
                );
            }
        }
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        match &self.0 {
            Role::Unknown => None,
            Role::Router(worker) => Some(Box::new(RouterFilter::new(Rc::clone(worker)))),
            Role::Failover => Some(Box::new(RetryFilter::default())),
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

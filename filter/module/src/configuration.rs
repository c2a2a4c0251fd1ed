//! The configurations that Envoy creates: of the filter that routes, or of the filter in front of the LLMs.

use std::borrow::Cow;
use std::sync::Arc;

use llm_router_filter_common::fractions;
use llm_router_routing::config::Config;
use serde_json::Value;

use crate::abi::{ConfigPtr, LogLevel};
use crate::gateway::Gateway;
use crate::stats::{Flushing, Stats};
use crate::{log, own_file, program};

/// The `filter_name` of the filter that routes.
const ROUTER: &str = "llm_router";
/// The `filter_name` of the filter in front of the LLMs.
const FAILOVER: &str = "failover";

/// A configuration of the filter in Envoy.
#[derive(Debug)]
pub(crate) enum FilterConfig {
    /// The filter that routes.
    Router {
        /// The state that its requests share.
        gateway: Arc<Gateway>,
        /// Reports counts to Envoy until Envoy destroys the configuration.
        _flushing: Flushing,
    },
    /// The filter in front of the LLMs.
    Failover,
}

impl FilterConfig {
    /// # Errors
    /// The error names the path of the invalid field, and the fix.
    ///
    /// # Safety
    /// In `config_new` only, with the pointer that Envoy passed to it.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn new(envoy: ConfigPtr, name: &str, configuration: &[u8]) -> Result<Self, String> {
        if let Some(warning) = own_file::warning() {
            log::write(LogLevel::Warn, &warning);
        }
        match name {
            ROUTER if configuration.is_empty() => {
                Err("filter_config: missing; it must contain the policy".to_owned())
            }
            ROUTER => {
                let config =
                    Config::from_json(&with_fractions(configuration)).map_err(|error| error.to_string())?;
                // SAFETY: as above.
                let stats = unsafe { Stats::define(envoy) };
                let message = format!(
                    "configured: default policy {}, mode {:?}",
                    config.default_policy.name, config.mode
                );
                log::write(LogLevel::Info, &message);
                let gateway = Arc::new(Gateway::new(config, stats));
                // SAFETY: as above.
                let _flushing = unsafe { Flushing::start(envoy, Arc::clone(&gateway)) };
                Ok(Self::Router { gateway, _flushing })
            }
            FAILOVER if program::can_fail_over() => Ok(Self::Failover),
            FAILOVER => {
                Err("Envoy 1.38 cannot choose another cluster for a retry; use Envoy 1.39 or later, or no \
                             failover"
                    .to_owned())
            }
            _ => Err(format!(
                "filter_name: {name:?} is unknown; use {ROUTER}, or {FAILOVER} for the filter in front of the LLMs"
            )),
        }
    }
}

/// The configuration, with the fractions that Envoy's YAML loader turned into strings as numbers again.
fn with_fractions(json: &[u8]) -> Cow<'_, [u8]> {
    match serde_json::from_slice::<Value>(json) {
        Ok(mut value) if fractions::may_be_from_yaml(json, &value) => {
            fractions::restore(&mut value);
            Cow::Owned(value.to_string().into_bytes())
        }
        _ => Cow::Borrowed(json),
    }
}

//! The proxy-wasm filter: carries the decisions of `llm-router-routing` out inside Envoy.
//!
//! [`root`] holds the configuration, [`http`] takes one request through its phases: [`body`] reads it, [`classifier`]
//! asks the sidecar as part of the client's [`trace`], [`stats`] counts, [`access_log`] tells. [`envoy_version`] and
//! [`first_body`] say so where Envoy would let requests hang.
//! [`failover`] is a filter of its own, which Envoy runs once an attempt, in front of the LLMs. [`host`] has Envoy's
//! functions for all of them.

mod access_log;
mod body;
mod classifier;
mod configuration;
mod envoy_version;
mod failover;
mod first_body;
mod host;
mod http;
mod place;
mod root;
mod stats;
mod trace;
mod warnings;

/// Tells the SDK how to make our contexts; Envoy calls it once in each VM.
pub fn start() {
    proxy_wasm::set_log_level(proxy_wasm::types::LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(root::Root::default()));
}

// Exported from Wasm only, so that tests can link natively.
#[cfg(target_arch = "wasm32")]
#[allow(missing_docs)]
mod entry {
    proxy_wasm::main! {{ super::start() }}
}

//! The proxy-wasm filter: carries the decisions of `llm-router-routing` out inside Envoy.
//!
//! [`root`] holds the configuration, [`http`] one request in its phases, [`classifier`] the call to the sidecar, and
//! [`host`] the host functions that both need.

mod classifier;
mod configuration;
mod host;
mod http;
mod root;

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

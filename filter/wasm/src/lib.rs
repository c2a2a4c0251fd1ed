//! The proxy-wasm filter: a thin host of `llm-router-routing`'s `Exchange` inside Envoy.
//!
//! [`root`] configures a [`worker`], which its requests share. [`router_filter`] takes one request through its phases,
//! with its [`body`] in Envoy's buffer and the [`sidecar_client`] for prompts to classify. A [`recorder`] receives
//! events, for [`stats`] and filter state. [`retry_filter`] is a separate filter, which Envoy runs once per attempt, in
//! front of the LLMs. [`envoy_version`] and [`body_watchdog`] report Envoys in which requests would hang. [`host`] has
//! Envoy's functions for all of them.

mod body;
mod body_watchdog;
mod configuration;
mod context;
mod envoy_version;
mod host;
mod recorder;
mod retry_filter;
mod root;
mod router_filter;
mod shared_responses;
mod sidecar_client;
mod stats;
mod worker;

/// Registers our contexts with the SDK; Envoy calls it once in each VM.
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

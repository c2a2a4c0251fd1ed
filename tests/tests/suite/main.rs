//! Requests through real Envoy to mock LLMs, on each host of the routing core.
//!
//! - `shared` runs on every host; a host that cannot do something has an ignored test that says why.
//! - `wasm_only`, `module_only` and `ext_proc_only` are about one host, or a bootstrap that we ship for one.
//! - `own_gateway` runs the pods of `k8s/overlays/envoy`; `scripts/test-control-planes` the gateways of Istio and Envoy Gateway.
//! - `shipped` is about all configurations that we ship.
//! - `harness` tests what the other tests rely on.

// Tests fail by panics; this extends clippy's exemption to their helpers.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod ext_proc_only;
mod harness;
mod module_only;
mod own_gateway;
mod shared;
mod shipped;
mod support;
mod wasm_only;

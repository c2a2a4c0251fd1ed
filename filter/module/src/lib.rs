//! The dynamic module: a thin host of `llm-router-routing`'s `Exchange`, which Envoy loads as native code.
//!
//! Envoy calls [`hooks`], which call an [`http_filter`]: the [`router_filter`], or the [`retry_filter`] in front of the LLMs. A
//! [`configuration`] creates a [`gateway`], which the requests of all workers share: cache, [`stats`], [`responses`]. A
//! [`sidecar_call`] calls the sidecar over [`grpc`]. A [`recorder`] collects events. [`guard`] keeps panics inside the module.
//! [`program`] rejects Envoys that are too old, and [`own_file`] reports a file that was replaced. [`envoy`] and [`log`] wrap
//! Envoy's functions, which [`abi`] declares.

mod abi;
mod clock;
mod configuration;
mod context;
mod drill;
mod envoy;
#[cfg(any(test, feature = "fuzzing"))]
mod fake_envoy;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gateway;
mod grpc;
mod guard;
mod held_body;
mod hooks;
mod http_filter;
mod log;
mod own_file;
mod program;
mod recorder;
mod responses;
mod retry_filter;
mod router_filter;
mod sidecar_call;
mod stats;
#[cfg(test)]
mod tests;

//! The dynamic module: a thin host of `llm-router-routing`'s `Exchange`, which Envoy loads as native code.
//!
//! Envoy calls [`hooks`], which pass to an [`http_filter`]: the [`router_filter`], or the [`retry_filter`] in front of the LLMs. A
//! [`configuration`] makes a [`gateway`], which the requests of all workers share: cache, [`stats`], [`responses`]. A
//! [`sidecar_call`] asks the sidecar, by [`grpc`]. A [`recorder`] receives what is recorded. [`guard`] keeps panics inside;
//! [`program`] refuses Envoys that are too old, and [`own_file`] reports a file that was replaced. [`envoy`] and [`log`] have Envoy's functions for all of them, after [`abi`].

mod abi;
mod clock;
mod configuration;
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

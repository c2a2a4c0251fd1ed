//! Real requests through real Envoy, our filter and the real sidecar, to stand-ins for the LLMs.

// Tests fail by panics; this extends clippy's exemption to their helpers.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod discovery;
mod dynamic;
mod examples;
mod failover;
mod failure;
mod held_headers;
mod install;
mod limits_per_client;
mod mesh;
mod providers;
mod replicas;
mod secure_sidecar;
mod sidecar_cluster;
// With a path, its modules are looked for beside it, as in the other mode.
#[path = "suite.rs"]
mod suite;
mod traces;

use llm_router_tests::bootstrap::Mode;
use suite::*;

/// Who decides in this run of the suite.
const MODE: Mode = Mode::Wasm;

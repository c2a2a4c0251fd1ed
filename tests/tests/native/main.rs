//! Real requests through real Envoy to stand-ins for the LLMs, without our filter: Envoy's own calls the sidecar.

// Tests fail by panics; this extends clippy's exemption to their helpers.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod carried_out;
mod failure;
#[path = "../e2e/suite.rs"]
mod suite;

use llm_router_tests::bootstrap::Mode;
use suite::*;

/// Who decides in this run of the suite.
const MODE: Mode = Mode::Native;

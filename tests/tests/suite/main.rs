//! Real requests through real Envoy, our filter and the real sidecar, to stand-ins for the LLMs.

// Tests fail by panics; this extends clippy's exemption to their helpers.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod shared;
mod wasm_only;

use llm_router_tests::bootstrap::Mode;
use shared::*;

/// Who decides in this run of the suite.
const MODE: Mode = Mode::Wasm;

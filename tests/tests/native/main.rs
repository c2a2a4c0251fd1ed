//! Real requests through real Envoy to stand-ins for the LLMs, without our filter: Envoy's own calls the sidecar.

// Tests fail by panics; this extends clippy's exemption to their helpers.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../suite/ext_proc_only/mod.rs"]
mod ext_proc_only;
#[path = "../suite/shared/mod.rs"]
mod shared;

use llm_router_tests::bootstrap::Mode;
use shared::*;

/// Who decides in this run of the suite.
const MODE: Mode = Mode::Native;

//! Shared by tests, demo and benchmarks, without libtorch: the mock LLM, child processes, the sidecar as one of them,
//! and time limits.

// A test harness reports problems by panics.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod artifacts;
pub mod mock_llm;
pub mod process;
pub mod sidecar;
pub mod time;

use std::path::{Path, PathBuf};

/// The repository's root.
#[must_use]
pub fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_path_buf()
}

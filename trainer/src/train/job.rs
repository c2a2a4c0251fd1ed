//! Where a training reads and writes, and on what it runs.

use std::path::Path;
use std::time::Instant;

use llm_router_classifier::device::Compute;

/// Where a training reads and writes, and on what it runs.
#[derive(Debug)]
pub struct Job<'a> {
    /// The folder with the encoder.
    pub model: &'a Path,
    /// The folder to write. It can be the same.
    pub out: &'a Path,
    /// Where the encoder computes, and in which precision.
    pub compute: Compute,
    /// libtorch's threads.
    pub threads: usize,
    /// The seed of the split.
    pub seed: u64,
    /// The command line, for the model cards.
    pub command: &'a str,
    /// When the command started. A time budget counts from here.
    pub started: Instant,
}

//! Where a training reads and writes, and on what it runs.

use std::path::Path;
use std::time::Instant;

use llm_router_classifier::device::Compute;

/// Where a training reads and writes, and on what it runs.
#[derive(Debug)]
pub struct Job<'a> {
    /// The folder with the encoder.
    pub model: &'a Path,
    /// The folder to write, which can be the same.
    pub out: &'a Path,
    /// Where and how precisely the encoder computes.
    pub compute: Compute,
    /// Threads of libtorch.
    pub threads: usize,
    /// Decides the split.
    pub seed: u64,
    /// The command, for the cards.
    pub command: &'a str,
    /// When the command began, which a time budget counts from.
    pub began: Instant,
}

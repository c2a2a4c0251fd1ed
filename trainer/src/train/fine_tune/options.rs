//! Where, how, and how long encoder and heads are trained.

use std::path::Path;
use std::time::Instant;

use super::settings::FineTuneSettings;
use super::stop::StopSignal;
use llm_router_classifier::device::Compute;

/// Where, how, and how long encoder and heads are trained.
pub(in crate::train) struct RunOptions<'a> {
    pub(in crate::train) settings: &'a FineTuneSettings,
    pub(in crate::train) compute: Compute,
    pub(in crate::train) threads: usize,
    /// The folder with the checkpoint.
    pub(in crate::train) out: &'a Path,
    /// Continues from the checkpoint.
    pub(in crate::train) resume: bool,
    pub(in crate::train) stop: &'a StopSignal,
    /// When the command started. The time budget counts from here.
    pub(in crate::train) started: Instant,
}

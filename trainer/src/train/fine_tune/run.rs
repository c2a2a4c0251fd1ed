//! Where, how, and how long encoder and heads are trained.

use std::path::Path;
use std::time::Instant;

use super::settings::Settings;
use super::stop::Stop;
use llm_router_classifier::device::Compute;

/// Where, how, and how long.
pub(in crate::train) struct Run<'a> {
    pub(in crate::train) settings: &'a Settings,
    pub(in crate::train) compute: Compute,
    pub(in crate::train) threads: usize,
    /// The folder that the state is kept in.
    pub(in crate::train) out: &'a Path,
    pub(in crate::train) resume: bool,
    pub(in crate::train) stop: &'a Stop,
    /// When the command began, which the time budget counts from.
    pub(in crate::train) began: Instant,
}

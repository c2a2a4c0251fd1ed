//! Logs and metrics. Neither ever holds a prompt.

pub mod logs;
pub mod metrics;

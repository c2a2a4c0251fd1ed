//! Logs, metrics and traces. None of them ever holds a prompt.

pub mod decisions;
pub mod logs;
pub mod metrics;
pub mod reloads;
pub mod traces;

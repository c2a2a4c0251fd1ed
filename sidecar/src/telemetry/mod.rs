//! Logs, metrics and traces. None of them ever holds a prompt.

pub mod captures;
pub mod decisions;
mod log_writer;
pub mod logs;
pub mod metrics;
pub mod reloads;
pub mod traces;

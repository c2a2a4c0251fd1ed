//! The commands as users run them: the real binary with the real model.
// Clippy exempts only test functions themselves, not the functions that they call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod admin;
mod bench;
mod bench_gateway;
mod calls;
mod capturing;
mod classify;
mod command;
mod console;
mod docs;
mod explain;
mod lost_logs;
mod reloading;
mod scripted_api;
mod sidecar;
mod stopping;
mod storm;
mod telemetry;

//! Training from files to a model that classifies, with tiny encoders and synthetic data.
// Clippy exempts test functions, but not the functions that they call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod adapters;
mod command;
mod data;
mod fine_tune;
mod heads;
#[path = "../common/time_limit.rs"]
mod time_limit;
mod tiny;

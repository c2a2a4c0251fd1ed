//! Training from files to a model that classifies, on tiny encoders and made-up sets.
// Only functions marked as tests are exempt by themselves, not what they call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod adapters;
mod command;
mod data;
mod fine_tune;
mod heads;
mod tiny;

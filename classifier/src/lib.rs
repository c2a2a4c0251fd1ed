//! Turns a prompt into a prediction. It is independent of gRPC and HTTP, and `clap` is behind a feature.
//!
//! [`pipeline::Pipeline`] is the entry point: [`engine`] (bounded queue → tokenizer threads → worker threads) → [`model`]
//! (encoder → heads), and [`few_shot`] for policies that are defined by examples. [`load`] builds one from a model's folder;
//! [`batch`] classifies files of [`records`].

#[cfg(feature = "clap")]
pub mod args;
pub mod batch;
pub mod device;
pub mod engine;
pub mod few_shot;
pub mod load;
mod log_limiter;
pub mod metrics;
pub mod model;
pub mod pipeline;
pub mod records;
pub mod steps;

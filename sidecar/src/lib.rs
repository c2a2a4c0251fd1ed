//! The sidecar: classifies prompts with libtorch behind Envoy's external-processing API, and trains its heads.
//!
//! A request's way: [`ext_proc`] (stream → text) → [`engine`] (bounded queue → worker) → [`model`] (tokens → embedding
//! → heads) → [`ext_proc`] (scores → headers and metadata).

pub mod admin;
pub mod bench;
mod bulk;
pub mod commands;
pub mod device;
pub mod engine;
pub mod eval;
pub mod examples;
pub mod ext_proc;
pub mod model;
pub mod policy;
pub mod records;
pub mod serve;
mod svg;
pub mod telemetry;
pub mod train;

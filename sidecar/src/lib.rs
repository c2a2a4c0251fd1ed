//! The sidecar: serves Envoy's external-processing API and classifies prompts for it.
//!
//! The path of a request: [`ext_proc`] (stream → text) → the classifier's pipeline → [`ext_proc`] (prediction
//! → headers and metadata). [`capture`] writes a sample of prompts to files, if that is enabled. [`serve`]
//! starts and reloads the service, [`admin`] is the operators' HTTP API, [`telemetry`] has metrics, logs and
//! traces.

pub mod admin;
pub mod bench;
pub mod capture;
pub mod commands;
pub mod ext_proc;
pub mod serve;
pub mod telemetry;

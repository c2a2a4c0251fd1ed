//! Fakes of what Envoy calls.

pub mod broken_sidecar;
pub mod few_shot_sidecar;
pub mod file_server;
pub mod rate_limit_service;
pub mod scripted_gateway;
pub mod scripted_sidecar;

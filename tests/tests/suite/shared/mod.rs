//! What must hold on every host.

mod agents;
mod bodies;
mod body_formats;
mod cache;
mod clients;
mod conditions;
mod conversations;
mod errors;
mod examples;
mod failover;
mod missing_classifier;
mod paths;
mod policies;
mod protocols;
mod routing;
mod secure_sidecar;
mod shadow;
mod sidecar_cluster;
mod sidecar_failure;
mod spoofing;
mod stats;
mod streaming;
mod traces;
mod untouched;

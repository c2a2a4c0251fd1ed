//! What only our filter can do.

mod discovery;
mod dynamic;
mod examples;
mod failover;
mod failure;
mod held_headers;
mod install;
mod limits_per_client;
mod mesh;
mod providers;
mod replicas;
mod secure_sidecar;
mod sidecar_cluster;
mod traces;

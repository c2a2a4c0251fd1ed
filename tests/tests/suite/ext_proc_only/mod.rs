//! Behaviour that differs if the sidecar decides.

mod body_modes;
mod closed;
mod forcing;
mod one_sidecar;
mod sidecar_failure;

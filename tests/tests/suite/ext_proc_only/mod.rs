//! What differs where the sidecar decides.

mod body_modes;
mod one_sidecar;
mod sidecar_failure;

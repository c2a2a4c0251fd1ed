//! What differs where the sidecar decides.

mod one_sidecar;
mod sidecar_failure;

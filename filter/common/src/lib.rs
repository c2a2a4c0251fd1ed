//! What the filters inside Envoy share, whatever Envoy loads them by: the calls to the sidecar without their transport, the
//! names of filter state, and what an attempt of a retried request needs.
//!
//! Nothing here calls Envoy; the hosts (`filter/wasm`, `filter/module`) carry out what these functions return.

pub mod attempt;
pub mod filter_state;
pub mod fractions;
pub mod request;
pub mod response;
pub mod trace;
pub mod warnings;

//! The common code of the two filters inside Envoy: requests to the sidecar and its responses without their transport, the names of
//! filter state, lines of the debug log, and the changes that a retried request needs.
//!
//! Nothing here calls Envoy; the hosts (`filter/wasm`, `filter/module`) apply what these functions return.

pub mod attempt;
pub mod correlation;
pub mod debug_log;
pub mod filter_state;
pub mod forward_clock;
pub mod fractions;
pub mod request;
pub mod response;
pub mod warnings;

//! The pure core of the router: from a request and a policy to a decision and its effects.
//!
//! Nothing here does I/O, reads a clock or knows Envoy. The hosts (the Wasm filter, native ext_proc, dry runs) are thin:
//!
//! 1. [`config::Config`] is a policy, validated once into types without invalid states.
//! 2. [`exchange::Exchange`] is the life cycle of a request: a host reports events and applies effects.
//! 3. [`request::Request`] has the parts of a body that routing needs, found without building a JSON tree.
//! 4. [`router::Router`] decides, at once or with the classifier's result; [`cache::CachingRouter`] caches results.
//! 5. [`rewrite::Rewrite`] puts the chosen model into the original bytes, and [`usage`] reads the response's tokens.
//! 6. [`metrics`] maps events to metrics.

pub mod cache;
pub mod classification;
pub mod config;
pub mod context;
pub mod decision;
pub mod digest;
#[cfg(feature = "documents")]
pub mod documents;
pub mod exchange;
#[cfg(feature = "explain")]
pub mod explain;
pub mod failover;
pub mod headers;
mod json;
mod known_agents;
pub mod metrics;
pub mod model_list;
pub mod rejection;
pub mod request;
pub mod requirements;
pub mod rewrite;
pub mod router;
pub mod usage;

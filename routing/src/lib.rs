//! The pure core of the router: from an OpenAI request and a policy to a decision, and to the bytes that the LLM gets.
//!
//! Nothing here does I/O, reads a clock or knows Envoy. The Wasm filter and the sidecar are thin edges around it:
//!
//! 1. [`config::Config`] is a policy, validated once into types that cannot be wrong.
//! 2. [`request::Request`] is what routing needs of a request's body, found without building a JSON tree.
//! 3. [`router::Router::plan`] decides at once, or says which classifier it needs; [`router::Router::decide`] takes
//!    the classifier's answer.
//! 4. [`rewrite::Rewrite`] puts the chosen model into the original bytes.
//! 5. [`outcome::Outcome`] is what becomes of the request then.

pub mod cache;
pub mod classification;
pub mod config;
pub mod decision;
pub mod digest;
#[cfg(feature = "documents")]
pub mod documents;
pub mod exchange;
pub mod failover;
pub mod headers;
mod json;
pub mod metrics;
pub mod model_list;
pub mod rejection;
pub mod request;
pub mod requirements;
pub mod rewrite;
pub mod router;
pub mod usage;

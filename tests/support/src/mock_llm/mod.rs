//! A mock LLM server: speaks OpenAI's APIs and Anthropic's, says which cluster it is, and records the requests that a
//! test tracks.

mod completions;
mod embeddings;
mod gate;
mod messages;
mod output;
mod path;
mod provider_state;
mod reply;
mod request_log;
mod responses;
mod schema;
mod server;

pub use gate::Gate;
pub use provider_state::sealed;
pub use request_log::{Received, RequestLog, TrackedRequest};
pub use server::serve;

/// Names a tracked request: see [`RequestLog`].
pub const TEST_ID: &str = "x-test-id";

/// Makes mock LLMs fail: `CLUSTER:STATUS`, or several of them with commas between.
pub const FAILS: &str = "x-test-fails";

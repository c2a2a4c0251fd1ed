//! A stand-in for an LLM server: speaks OpenAI's APIs and Anthropic's, says which cluster it is, and remembers what it was
//! sent.

mod answer;
mod completions;
mod embeddings;
mod gate;
mod messages;
mod received;
mod responses;
mod server;
pub mod tls;

pub use gate::{Gate, Gates};
pub use received::{Received, ReceivedLog};
pub use server::serve;

/// Names a request, so that a test finds among the [`Received`] its own, and its own [`Gate`].
pub const TEST_ID: &str = "x-test-id";

/// Makes stand-ins fail: `CLUSTER:STATUS`, and more of them with commas between.
pub const FAILS: &str = "x-test-fails";

/// How tests look into stand-ins and steer them. Several stand-ins can share one.
#[derive(Debug, Default)]
pub struct Hooks {
    /// The last requests.
    pub received: ReceivedLog,
    /// Who waits for whom while streaming.
    pub gates: Gates,
}

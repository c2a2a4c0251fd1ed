//! Serves OpenAI's API as a stand-in for the LLMs of one Envoy cluster.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Parser;
use llm_router_tests::stand_in::{self, Hooks};
use tokio::net::TcpListener;

/// Serves OpenAI's API as a stand-in for the LLMs of one Envoy cluster.
#[derive(Parser)]
struct Options {
    /// The cluster that its answers name, in `x-served-by` and `system_fingerprint`.
    #[arg(long)]
    name: String,
    /// Where to listen, as IP:PORT.
    #[arg(long)]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let options = Options::parse();
    let listener = TcpListener::bind(options.listen).await?;
    stand_in::serve(listener, options.name, Arc::new(Hooks::default())).await
}

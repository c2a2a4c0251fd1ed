//! Serves OpenAI's and Anthropic's APIs as a mock of the LLM behind one Envoy cluster.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Parser;
use llm_router_test_support::mock_llm::{self, RequestLog};
use tokio::net::TcpListener;

/// Serves OpenAI's and Anthropic's APIs as a mock of the LLM behind one Envoy cluster.
#[derive(Parser)]
struct Options {
    /// Name of the cluster, which the responses contain in `x-served-by` and `system_fingerprint`.
    #[arg(long)]
    name: String,
    /// Address to listen on, IP:PORT.
    #[arg(long)]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let options = Options::parse();
    let listener = TcpListener::bind(options.listen).await?;
    // Nobody tracks requests in this process: the log stays empty.
    mock_llm::serve(listener, options.name, Arc::new(RequestLog::default())).await
}

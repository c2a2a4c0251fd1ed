//! What the end-to-end tests need: real Envoy and the real sidecar as child processes, mock LLMs and fakes of sidecars, and
//! an HTTP client that controls how a request is framed.

// A test harness reports problems by panics.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod agents;
pub mod bootstrap;
pub mod client;
pub mod envoy;
pub mod fakes;
pub mod host;
pub mod jwt;
pub mod load;
pub mod mock_llms;
pub mod pod;
pub mod sidecar;
pub mod tls;
pub mod versions;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::LazyLock;

use llm_router_test_support::artifacts::Artifact;
pub use llm_router_test_support::repository;
pub use llm_router_test_support::time::{TIMEOUT, poll, poll_for, within};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

/// Any free port on loopback.
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Where our own servers run: unlike a test's runtime, it lives to the end.
static BACKGROUND: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime for the servers"));

/// Runs a server on loopback to the end of the tests.
pub fn serve<S, F>(server: S) -> SocketAddr
where
    S: FnOnce(tokio::net::TcpListener) -> F,
    F: Future<Output: Send> + Send + 'static,
{
    let listener = TcpListener::bind(ANY_PORT).expect("a free port");
    let address = listener.local_addr().expect("its address");
    listener.set_nonblocking(true).expect("a listener for tokio");
    let _context = BACKGROUND.enter();
    BACKGROUND.spawn(server(tokio::net::TcpListener::from_std(listener).expect("a listener for tokio")));
    address
}

/// An address where connections are refused. Its port is bound, so that no other process can listen there.
#[must_use]
pub fn refusing_address() -> SocketAddr {
    static BOUND: LazyLock<TcpSocket> = LazyLock::new(|| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(ANY_PORT).expect("a free port");
        socket
    });
    BOUND.local_addr().expect("its address")
}

/// The file that another command builds.
///
/// # Panics
/// If it is missing or older than its sources. The message is the command to run.
#[must_use]
pub fn fresh(artifact: &Artifact) -> PathBuf {
    artifact.fresh(&repository()).unwrap_or_else(|problem| panic!("{problem}"))
}

/// A file in `target/e2e` for the input or output of a child process, another one at each call.
#[must_use]
pub fn scratch_file(name: &str, ending: &str) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let binary = std::env::current_exe().expect("the test binary's path");
    let folder = repository().join("target/e2e").join(binary.file_stem().unwrap_or_default());
    std::fs::create_dir_all(&folder).expect("a folder in target/e2e");
    folder.join(format!("{name}-{}.{ending}", NUMBER.fetch_add(1, Ordering::Relaxed)))
}

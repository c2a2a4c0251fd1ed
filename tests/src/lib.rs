//! What the end-to-end tests need: real Envoy and the real sidecar as child processes, a stand-in for the
//! LLMs behind them, and an HTTP client that controls how a request is framed.

// Failing is how a harness says what is wrong.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod bootstrap;
pub mod client;
pub mod envoy;
pub mod fleet;
pub mod load;
pub mod mesh;
pub mod process;
pub mod sidecar;
pub mod stand_in;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use tokio::runtime::Runtime;

/// How long anything may take that surely happens: so long that only what hangs runs into it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Any free port on loopback.
pub const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Where our own servers run: unlike a test's runtime, it lives to the end.
static BACKGROUND: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime for the servers"));

/// The repository's root.
#[must_use]
pub fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

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

/// A port that nobody uses now, for a process that does not tell which it took.
#[must_use]
pub fn free_port() -> SocketAddr {
    let listener = TcpListener::bind(ANY_PORT).expect("a free port");
    listener.local_addr().expect("its address")
}

/// The binary at `path` in the repository, or the command that makes it.
fn binary(path: &str, command: &str) -> PathBuf {
    let binary = repository().join(path);
    assert!(binary.exists(), "{path} is missing: run `{command}`");
    binary
}

/// A file in `target/e2e`, in this test binary's folder, for the input or output of a child process, another one at each call.
#[must_use]
pub fn scratch_file(name: &str, ending: &str) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let binary = std::env::current_exe().expect("the test binary's path");
    let folder = repository().join("target/e2e").join(binary.file_stem().unwrap_or_default());
    std::fs::create_dir_all(&folder).expect("a folder in target/e2e");
    folder.join(format!("{name}-{}.{ending}", NUMBER.fetch_add(1, Ordering::Relaxed)))
}

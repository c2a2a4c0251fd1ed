//! The real sidecar as a child process, with the model that the repository carries.

use std::net::{SocketAddr, TcpListener};

use hyper::{Method, StatusCode};
use tokio::sync::OnceCell;

use crate::ANY_PORT;
use crate::client::Request;
use crate::envoy::wait;
use crate::process::Process;

static SHARED: OnceCell<Sidecar> = OnceCell::const_new();

/// A running sidecar.
#[derive(Debug)]
pub struct Sidecar {
    _process: Process,
    /// Where it serves ext_proc.
    pub address: SocketAddr,
}

impl Sidecar {
    /// The sidecar that all tests share, since loading the model takes longer than most tests.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    async fn start() -> Self {
        let binary =
            crate::binary("target/release/llm-router-sidecar", "cargo build --release -p llm-router-sidecar");
        let (address, admin) = (free_port(), free_port());
        let options = ["serve", "--model", "models/minilm", "--listen"].map(str::to_owned);
        let arguments =
            [&options[..], &[address.to_string(), "--admin".to_owned(), admin.to_string()]].concat();
        let process = Process::spawn(&binary, &arguments, crate::scratch_file("sidecar", "log"))
            .expect("starting the sidecar");
        wait(&process, async || {
            let ready = Request::new(Method::GET, "/readyz", "").exchange(admin).await.ok()?;
            (ready.status() == StatusCode::OK).then_some(())
        })
        .await;
        Self { _process: process, address }
    }
}

/// A port that nobody uses now. The sidecar does not tell which it took, so it cannot choose itself.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind(ANY_PORT).expect("a free port");
    listener.local_addr().expect("its address")
}

//! The real sidecar as a child process, with the model that the repository carries.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use hyper::{Method, StatusCode};
use tokio::sync::{Mutex, OnceCell};

use crate::bootstrap::Bootstrap;
use crate::client::Request;
use crate::envoy::wait;
use crate::process::Process;

static SHARED: OnceCell<Sidecar> = OnceCell::const_new();

/// Those that run with a policy, by the policy.
static BY_POLICY: Mutex<Option<HashMap<String, Weak<Sidecar>>>> = Mutex::const_new(None);

/// A running sidecar.
#[derive(Debug)]
pub struct Sidecar {
    process: Process,
    /// Where it serves ext_proc.
    pub address: SocketAddr,
}

impl Sidecar {
    /// The sidecar without a policy, which all tests share, since loading the model takes longer than most tests.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::start(None)).await
    }

    /// One without a policy for a test that does something to it.
    pub async fn alone() -> Self {
        Self::start(None).await
    }

    /// One with further options that name files.
    pub async fn with_options(options: &[(&str, &PathBuf)]) -> Self {
        let text =
            |(name, file): &(&str, &PathBuf)| [(*name).to_owned(), file.to_string_lossy().into_owned()];
        Self::start_with(options.iter().flat_map(text).collect()).await
    }

    /// One without a policy that listens on a Unix socket.
    pub async fn on_socket(path: &Path) -> Self {
        Self::start_at(&format!("unix:{}", path.display()), crate::ANY_PORT, Vec::new()).await
    }

    /// Sends it a signal, named as in `kill -NAME`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Points the bootstrap at a sidecar with its policy, if it has one for it.
    pub(crate) async fn behind(bootstrap: Bootstrap) -> (Bootstrap, Option<Arc<Self>>) {
        let Some(policy) = bootstrap.sidecar_policy() else { return (bootstrap, None) };
        let sidecar = Self::with_policy(policy.to_string()).await;
        (bootstrap.sidecar(sidecar.address), Some(sidecar))
    }

    /// Shared by the tests that run at the time with the same policy.
    pub async fn with_policy(policy: String) -> Arc<Self> {
        let mut running = BY_POLICY.lock().await;
        let running = running.get_or_insert_default();
        if let Some(sidecar) = running.get(&policy).and_then(Weak::upgrade) {
            return sidecar;
        }
        let file = crate::scratch_file("policy", "json");
        std::fs::write(&file, &policy).expect("the policy's file");
        let sidecar = Arc::new(Self::start(Some(&file)).await);
        running.insert(policy, Arc::downgrade(&sidecar));
        sidecar
    }

    async fn start(policy: Option<&Path>) -> Self {
        let policy = policy.map(|policy| ["--policy".to_owned(), policy.to_string_lossy().into_owned()]);
        Self::start_with(policy.into_iter().flatten().collect()).await
    }

    async fn start_with(options: Vec<String>) -> Self {
        let address = crate::free_port();
        Self::start_at(&address.to_string(), address, options).await
    }

    async fn start_at(listen: &str, address: SocketAddr, options: Vec<String>) -> Self {
        let binary =
            crate::binary("target/release/llm-router-sidecar", "cargo build --release -p llm-router-sidecar");
        let admin = crate::free_port();
        let admin_option = admin.to_string();
        let arguments = ["serve", "--model", "models/minilm", "--listen", listen, "--admin", &admin_option];
        let arguments: Vec<_> = arguments.map(str::to_owned).into_iter().chain(options).collect();
        let process = Process::spawn(&binary, &arguments, crate::scratch_file("sidecar", "log"))
            .expect("starting the sidecar");
        wait(&process, async || {
            let ready = Request::new(Method::GET, "/readyz", "").exchange(admin).await.ok()?;
            (ready.status() == StatusCode::OK).then_some(())
        })
        .await;
        Self { process, address }
    }
}

//! The real sidecar with the model that the repository carries.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Weak};

use llm_router_test_support::artifacts::SIDECAR;
use llm_router_test_support::sidecar::{ANY_PORT, SidecarProcess};
use tokio::sync::{Mutex, OnceCell};

use crate::bootstrap::Bootstrap;
use crate::{fresh, repository, scratch_file};

static SHARED: OnceCell<Sidecar> = OnceCell::const_new();

/// The running sidecars with a policy, by the policy.
static BY_POLICY: Mutex<Option<HashMap<String, Weak<Sidecar>>>> = Mutex::const_new(None);

/// A running sidecar.
#[derive(Debug)]
pub struct Sidecar {
    process: SidecarProcess,
}

impl Sidecar {
    /// The sidecar without a policy, which all tests share, since loading the model takes longer than most tests.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::alone).await
    }

    /// One without a policy, for a test that disturbs it.
    pub async fn alone() -> Self {
        Self::with_options(&[]).await
    }

    /// One with further options that name files.
    pub async fn with_options(options: &[(&str, &PathBuf)]) -> Self {
        let options = options.iter().flat_map(|(name, file)| [Path::new(*name), file.as_path()]);
        Self::start(ANY_PORT, &options.collect::<Vec<_>>()).await
    }

    /// One without a policy that listens on a Unix socket.
    pub async fn on_socket(path: &Path) -> Self {
        Self::start(&format!("unix:{}", path.display()), &[]).await
    }

    /// One that decides by this policy. Tests that run at the same time with the same policy share it.
    pub async fn with_policy(policy: String) -> Arc<Self> {
        let mut running = BY_POLICY.lock().await;
        let running = running.get_or_insert_default();
        if let Some(sidecar) = running.get(&policy).and_then(Weak::upgrade) {
            return sidecar;
        }
        let file = scratch_file("policy", "json");
        std::fs::write(&file, &policy).expect("the policy's file");
        let sidecar = Arc::new(Self::with_options(&[("--policy", &file)]).await);
        running.insert(policy, Arc::downgrade(&sidecar));
        sidecar
    }

    /// Where it serves ext_proc.
    ///
    /// # Panics
    /// If it listens on a Unix socket.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.process.address().parse().expect("a TCP address")
    }

    /// Sends it a signal, named as in `kill -NAME`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Points the bootstrap at a sidecar with its policy, if the bootstrap has one for a sidecar.
    pub(crate) async fn behind(bootstrap: Bootstrap) -> (Bootstrap, Option<Arc<Self>>) {
        let Some(policy) = bootstrap.sidecar_policy() else { return (bootstrap, None) };
        let sidecar = Self::with_policy(policy.to_string()).await;
        (bootstrap.sidecar(sidecar.address()), Some(sidecar))
    }

    async fn start(listen: &str, options: &[&Path]) -> Self {
        let mut command = Command::new(fresh(&SIDECAR));
        command.current_dir(repository());
        let options =
            [Path::new("--model"), Path::new("models/e5")].into_iter().chain(options.iter().copied());
        Self {
            process: SidecarProcess::start(command, listen, options, scratch_file("sidecar", "log")).await,
        }
    }
}

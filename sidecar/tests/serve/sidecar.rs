//! `serve` as a child process, with a model and a policy that the test may change.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use llm_router_proto::envoy::service::ext_proc::v3::external_processor_client::ExternalProcessorClient;
use llm_router_test_support::sidecar::SidecarProcess;
use llm_router_test_support::time::{TIMEOUT, poll, within};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

/// A running sidecar, killed on drop.
pub(crate) struct Sidecar {
    pub(crate) process: SidecarProcess,
    pub(crate) folder: TempDir,
}

impl Sidecar {
    /// Starts a sidecar that listens on a Unix socket in the folder, with these further arguments and variables.
    pub(crate) async fn start(folder: TempDir, arguments: &[&str], environment: &[(&str, String)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llm-router-sidecar"));
        command.current_dir(folder.path()).envs(environment.iter().map(|(name, value)| (name, value)));
        let log = folder.path().join("log");
        let process = SidecarProcess::start(command, "unix:socket", arguments, log).await;
        Self { process, folder }
    }

    pub(crate) async fn connect(&self) -> ExternalProcessorClient<Channel> {
        let address = format!("unix:{}", self.folder.path().join("socket").display());
        let endpoint = Endpoint::from_shared(address).unwrap();
        ExternalProcessorClient::new(within(TIMEOUT, endpoint.connect()).await.unwrap())
    }

    /// Everything that it has written.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until it has logged this message.
    pub(crate) async fn logged(&self, message: &str) -> Value {
        poll(async || self.process.logged(message).ok_or_else(|| format!("no {message:?} in {}", self.log())))
            .await
    }

    /// The admin API's response, status line and headers included.
    pub(crate) async fn admin(&self, request: &str) -> String {
        ask(self.process.admin(), request).await
    }

    /// The beginning of its response, without waiting for more.
    pub(crate) async fn admin_status(&self, request: &str) -> String {
        let status = async {
            let mut status = [0; "HTTP/1.1 200".len()];
            send(self.process.admin(), request).await.read_exact(&mut status).await.unwrap();
            String::from_utf8(status.into()).unwrap()
        };
        within(TIMEOUT, status).await
    }

    pub(crate) async fn metrics(&self) -> String {
        metrics(self.process.admin()).await
    }

    /// Waits until the metrics have a line.
    pub(crate) async fn metric(&self, line: &str) {
        let found = async || {
            let metrics = self.metrics().await;
            if metrics.contains(line) {
                Ok(())
            } else {
                Err(format!("no {line} in {metrics}\n{}", self.log()))
            }
        };
        poll(found).await;
    }
}

async fn send(admin: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The response of the admin API at this address, status line and headers included.
async fn ask(admin: SocketAddr, request: &str) -> String {
    let response = async {
        let mut response = String::new();
        send(admin, request).await.read_to_string(&mut response).await.unwrap();
        response
    };
    within(TIMEOUT, response).await
}

/// The metrics of the sidecar whose admin API is at this address.
pub(crate) async fn metrics(admin: SocketAddr) -> String {
    ask(admin, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await
}

/// The model that the repository carries.
pub(crate) fn minilm() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/minilm");
    assert!(
        folder.join("model.safetensors").is_file(),
        "no encoder in models/minilm: run scripts/setup --only minilm"
    );
    folder.canonicalize().unwrap()
}

/// A folder with that model, whose one head has another name.
pub(crate) fn model_with_head(folder: &Path, head: &str) {
    let from = minilm();
    fs::create_dir_all(folder.join("heads")).unwrap();
    for name in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "adapter_config.json",
        "adapter_model.safetensors",
    ] {
        symlink(from.join(name), folder.join(name)).unwrap();
    }
    symlink(from.join("heads/task"), folder.join("heads").join(head)).unwrap();
}

/// Replaces a file, or a symlink, at once.
pub(crate) fn swap_symlink(target: &Path, link: &Path) {
    let unfinished = link.with_extension("unfinished");
    symlink(target, &unfinished).unwrap();
    fs::rename(unfinished, link).unwrap();
}

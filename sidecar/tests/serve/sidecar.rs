//! `serve` as a child process, with a model and a policy that the test may change.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use llm_router_proto::envoy::service::ext_proc::v3::external_processor_client::ExternalProcessorClient;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

use crate::process::{Process, eventually, in_time, sidecar_command};

/// A running sidecar, killed on drop.
pub(crate) struct Sidecar {
    process: Process,
    pub(crate) folder: TempDir,
    admin: SocketAddr,
}

impl Sidecar {
    /// Starts a sidecar that listens on a Unix socket in the folder, with these further arguments and variables.
    pub(crate) async fn start(folder: TempDir, arguments: &[&str], environment: &[(&str, String)]) -> Self {
        let stderr = File::create(folder.path().join("log")).unwrap();
        let mut command = sidecar_command();
        command.current_dir(folder.path()).stdin(Stdio::null()).stderr(stderr);
        command.args(["serve", "--listen", "unix:socket", "--admin", "127.0.0.1:0", "--log-format", "json"]);
        command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        let mut process = Process::spawn(&mut command);
        let serving = async || {
            let line = logged(folder.path(), "serving");
            assert!(
                line.is_some() || process.status().is_none(),
                "the sidecar ended: {}",
                log(folder.path())
            );
            line
        };
        let serving = eventually("log line \"serving\"", serving, || log(folder.path())).await;
        let admin = serving["fields"]["admin"].as_str().unwrap().parse().unwrap();
        Self { process, folder, admin }
    }

    pub(crate) async fn connect(&self) -> ExternalProcessorClient<Channel> {
        let address = format!("unix:{}", self.folder.path().join("socket").display());
        let endpoint = Endpoint::from_shared(address).unwrap();
        ExternalProcessorClient::new(in_time("connecting", endpoint.connect()).await.unwrap())
    }

    /// Everything that it has written.
    pub(crate) fn log(&self) -> String {
        log(self.folder.path())
    }

    /// Waits until it has logged this message.
    pub(crate) async fn logged(&self, message: &str) -> Value {
        let line = async || logged(self.folder.path(), message);
        eventually(&format!("log line {message:?}"), line, || self.log()).await
    }

    /// The admin API's response, status line and headers included.
    pub(crate) async fn admin(&self, request: &str) -> String {
        let response = async {
            let mut response = String::new();
            self.send(request).await.read_to_string(&mut response).await.unwrap();
            response
        };
        in_time(request, response).await
    }

    /// The beginning of its response, without waiting for more.
    pub(crate) async fn admin_status(&self, request: &str) -> String {
        let status = async {
            let mut status = [0; "HTTP/1.1 200".len()];
            self.send(request).await.read_exact(&mut status).await.unwrap();
            String::from_utf8(status.into()).unwrap()
        };
        in_time("the response's status", status).await
    }

    async fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    pub(crate) async fn metrics(&self) -> String {
        self.admin("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await
    }

    /// Waits until the metrics have a line.
    pub(crate) async fn metric(&self, line: &str) {
        let found = async || self.metrics().await.contains(line).then_some(());
        eventually(&format!("metric {line}"), found, || self.log()).await;
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Memory of the process, in MB.
    pub(crate) fn resident_megabytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }

    /// Waits until it ends; returns whether it succeeded.
    pub(crate) async fn ended(&mut self) -> bool {
        self.process.ended().await.success()
    }
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap()
}

/// The log's first line with this message.
fn logged(folder: &Path, message: &str) -> Option<Value> {
    let log = log(folder);
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.find(|line| line["fields"]["message"] == message)
}

/// The model that the repository carries.
pub(crate) fn minilm() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/minilm");
    assert!(folder.join("model.safetensors").is_file(), "no encoder in models/minilm: run scripts/setup");
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

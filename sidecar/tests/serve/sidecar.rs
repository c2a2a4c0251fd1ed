//! The real binary as a child process, with a model and a policy that the test may change.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use llm_router_proto::envoy::service::ext_proc::v3::external_processor_client::ExternalProcessorClient;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};

const PAUSE: Duration = Duration::from_millis(20);

/// A running sidecar, killed on drop.
pub(crate) struct Sidecar {
    process: Child,
    pub(crate) folder: TempDir,
    admin: SocketAddr,
}

impl Sidecar {
    /// Starts one that listens on a Unix socket in its folder, with these further arguments and variables.
    pub(crate) async fn start(folder: TempDir, arguments: &[&str], environment: &[(&str, String)]) -> Self {
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_llm-router-sidecar"));
        command.current_dir(folder.path()).stdin(Stdio::null()).stderr(log);
        command.args(["serve", "--listen", "unix:socket", "--admin", "127.0.0.1:0", "--log-format", "json"]);
        command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        let mut sidecar =
            Self { process: command.spawn().unwrap(), folder, admin: SocketAddr::from(([0; 4], 0)) };
        let serving = loop {
            if let Some(line) = sidecar.logged("serving") {
                break line;
            }
            let ended = sidecar.process.try_wait().unwrap();
            assert!(ended.is_none(), "the sidecar ended: {}", sidecar.log());
            sleep(PAUSE).await;
        };
        sidecar.admin = serving["fields"]["admin"].as_str().unwrap().parse().unwrap();
        sidecar
    }

    pub(crate) async fn connect(&self) -> ExternalProcessorClient<Channel> {
        let address = format!("unix:{}", self.folder.path().join("socket").display());
        ExternalProcessorClient::new(Endpoint::from_shared(address).unwrap().connect().await.unwrap())
    }

    /// Everything that it has written.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// The log's line with this message.
    pub(crate) fn logged(&self, message: &str) -> Option<Value> {
        let log = self.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["fields"]["message"] == message)
    }

    /// What the admin API answers, status line and headers included.
    pub(crate) async fn admin(&self, request: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.admin).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The beginning of what it answers, without waiting for more.
    pub(crate) async fn admin_status(&self, request: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.admin).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut status = [0; "HTTP/1.1 200".len()];
        stream.read_exact(&mut status).await.unwrap();
        String::from_utf8(status.into()).unwrap()
    }

    pub(crate) async fn metrics(&self) -> String {
        self.admin("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await
    }

    /// Waits until the metrics have a line.
    pub(crate) async fn metric(&self, line: &str) {
        while !self.metrics().await.contains(line) {
            sleep(PAUSE).await;
        }
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

    /// Whether it ended well.
    pub(crate) async fn ended(&mut self) -> bool {
        loop {
            match self.process.try_wait().unwrap() {
                Some(status) => break status.success(),
                None => sleep(PAUSE).await,
            }
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
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

//! The real sidecar, `llm-router-sidecar serve`, as a child process on ports that the system chooses.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use serde_json::Value;

use crate::process::Process;
use crate::time::poll;

/// Any free port on loopback.
pub const ANY_PORT: &str = "127.0.0.1:0";

/// A running sidecar, killed on drop.
#[derive(Debug)]
pub struct SidecarProcess {
    process: Process,
    address: String,
    admin: SocketAddr,
}

impl SidecarProcess {
    /// Starts the binary with the variables and in the folder of `command`, and waits until it serves. `listen` is
    /// [`ANY_PORT`] or `unix:PATH`; `options` come after these.
    ///
    /// # Panics
    /// If it ends, or does not serve in time.
    pub async fn start(
        mut command: Command,
        listen: &str,
        options: impl IntoIterator<Item: AsRef<OsStr>>,
        log: PathBuf,
    ) -> Self {
        command
            .args(["serve", "--listen", listen, "--admin", ANY_PORT, "--log-format", "json"])
            .args(options);
        let process = Process::spawn(&command, log);
        let process = process.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let serving = poll(async || {
            process.assert_running();
            logged(&process, "serving").ok_or("it does not serve")
        });
        let serving = serving.await;
        let field = |name: &str| serving["fields"][name].as_str().unwrap_or_default().to_owned();
        let admin = field("admin").parse();
        let admin = admin.unwrap_or_else(|error| panic!("no admin address in {serving}: {error}"));
        Self { process, address: field("address"), admin }
    }

    /// Where it serves ext_proc: `ADDRESS:PORT` or `unix:PATH`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where it serves its admin API.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// All that it has written.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// The log's first entry with this message.
    #[must_use]
    pub fn logged(&self, message: &str) -> Option<Value> {
        logged(&self.process, message)
    }

    /// Sends it a signal, named as in `kill -NAME`.
    ///
    /// # Panics
    /// If it has ended.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// If it does not end in time.
    pub async fn ended(&self) -> ExitStatus {
        poll(async || self.process.exit_status().ok_or("it runs")).await
    }

    /// The physical memory that it uses, in MB.
    ///
    /// # Panics
    /// If it has ended.
    #[must_use]
    pub fn resident_megabytes(&self) -> u64 {
        let file = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(&file).unwrap_or_default();
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = kilobytes.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.unwrap_or_else(|| panic!("no VmRSS in {file}")) / 1024
    }
}

fn logged(process: &Process, message: &str) -> Option<Value> {
    let log = process.output();
    let mut entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    entries.find(|entry| entry["fields"]["message"] == message)
}

//! Child processes and waits with a time limit, so that a regression fails a test in place of hanging it.

use std::fs::{self, File};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// Time limit of each wait. It only matters when something is broken, and includes loading a model on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Pause between two checks.
const PAUSE: Duration = Duration::from_millis(20);

/// The future's output; panics if it takes too long.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(TIMEOUT, future).await.unwrap_or_else(|_| panic!("{what} took longer than {TIMEOUT:?}"))
}

/// Checks until there is a value; panics with `context` if it takes too long.
pub(crate) async fn eventually<T>(
    what: &str,
    mut check: impl AsyncFnMut() -> Option<T>,
    context: impl FnOnce() -> String,
) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < deadline, "no {what} within {TIMEOUT:?}: {}", context());
        sleep(PAUSE).await;
    }
}

/// The sidecar's binary.
pub(crate) fn sidecar_command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_llm-router-sidecar"))
}

/// A child process, killed on drop.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Its standard input and output, which must be piped.
    pub(crate) fn pipes(&mut self) -> (ChildStdin, ChildStdout) {
        (self.0.stdin.take().unwrap(), self.0.stdout.take().unwrap())
    }

    /// The status, if it has ended.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// Waits until it ends.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        eventually("end of the process", async || self.status(), String::new).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a command writes until it ends.
pub(crate) async fn output(command: &mut Command) -> Output {
    // Files, because a pipe that nobody reads would block the process.
    let folder = TempDir::new().unwrap();
    let (out, err) = (folder.path().join("stdout"), folder.path().join("stderr"));
    let file = |path: &Path| File::create(path).unwrap();
    let mut process = Process::spawn(command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err)));
    let status = process.ended().await;
    let read = |path: PathBuf| fs::read(path).unwrap();
    Output { status, stdout: read(out), stderr: read(err) }
}

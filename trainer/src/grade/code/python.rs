//! Runs a solution and its tests in a Python process with limits.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::grade::calls::TestResult;
use crate::grade::key::Key;

const LAUNCH: &str = include_str!("launch.py");
const RUN: &str = include_str!("run.py");

/// The end of standard error that is read for the reason of a failure, in bytes.
const MAX_ERROR: u64 = 4096;

/// Code that passes only if the process is limited.
const LIMITS_HOLD: &str = "
import os
try:
    child = os.fork()
except OSError:
    pass
else:
    os._exit(1)
";

/// Code that passes only if the process has no network: the loopback device alone.
const NO_NETWORK: &str = "
with open('/proc/self/net/dev') as file:
    assert file.read().count(':') == 1
";

/// Runs Python code with limits.
#[derive(Debug)]
pub(crate) struct PythonRunner {
    python: PathBuf,
    timeout: Duration,
    /// No more processes than cores. Otherwise the time limits would also measure the load of other
    /// processes.
    permits: Semaphore,
}

impl PythonRunner {
    /// A runner with this interpreter and this time limit for each run.
    ///
    /// # Errors
    /// If the interpreter does not run, or the limits cannot be set on this system.
    pub(crate) async fn new(python: &Path, timeout: Duration) -> Result<Self> {
        // Code that runs as the same user could otherwise read the keys in this process's environment and memory.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .context("cannot keep tested code from reading this process")?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let runner = Self { python: interpreter(python).await?, timeout, permits: Semaphore::new(cores) };
        for (code, what) in [("", "run"), (LIMITS_HOLD, "start no processes")] {
            let TestResult { passed, detail } = runner.test(code, "").await?;
            ensure!(
                passed,
                "--python {}: code cannot be made to {what} under limits: {detail}{}",
                runner.python.display(),
                advice(&detail)
            );
        }
        if !runner.test(NO_NETWORK, "").await?.passed {
            tracing::warn!(
                "tested code can use the network: this system cannot block it; run it in a container without network"
            );
        }
        Ok(runner)
    }

    /// The key of a result of [`Self::test`].
    pub(crate) fn key(&self, solution: &str, tests: &str) -> Key {
        Key::compute(&json!(["tests", self.timeout.as_millis() as u64, solution, tests]))
    }

    /// Runs a solution, then its tests.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub(crate) async fn test(&self, solution: &str, tests: &str) -> Result<TestResult> {
        let _permit = self.permits.acquire().await?;
        let folder = tempfile::Builder::new().prefix("llm-router-grade-").tempdir();
        let folder = folder.context("cannot create a temporary folder for code")?;
        for (name, content) in [("solution.py", solution), ("tests.py", tests), ("run.py", RUN)] {
            std::fs::write(folder.path().join(name), content)?;
        }
        // A file without a path: the code could replace a path by a link to another file.
        let mut errors = tempfile::tempfile()?;
        let mut child = Command::new(&self.python)
            .args(["-I", "-c", LAUNCH])
            .arg(folder.path())
            .arg((self.timeout.as_secs() + 1).to_string())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone()?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.python.display()))?;
        // The code can only print this word if it reads it from another module's variables.
        let word = format!("{:032x}", fastrand::u128(..));
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let run = async {
            if let Some(mut stdin) = stdin {
                // If the process has already ended, the code below detects it.
                let _ = stdin.write_all(format!("{word}\n").as_bytes()).await;
            }
            let mut printed = String::new();
            if let Some(stdout) = stdout {
                let _ = stdout.take(word.len() as u64 + 1).read_to_string(&mut printed).await;
            }
            Ok::<_, std::io::Error>((child.wait().await?, printed.trim() == word))
        };
        match tokio::time::timeout(self.timeout, run).await {
            Ok(ended) => {
                let (status, reached_end) = ended?;
                let passed = status.success() && reached_end;
                let detail = if passed { "passed".to_owned() } else { reason(status, &mut errors)? };
                Ok(TestResult { passed, detail })
            }
            Err(_) => Ok(TestResult { passed: false, detail: format!("timed out after {:?}", self.timeout) }),
        }
    }
}

/// What to do about an interpreter that only root can run.
fn advice(detail: &str) -> &'static str {
    match detail.starts_with("PermissionError") {
        true => {
            "; started by root, code runs as the user nobody: use an interpreter that all users can run, such as \
             --python /usr/bin/python3"
        }
        false => "",
    }
}

/// The path of the interpreter, which a name or a script such as pyenv's leads to.
async fn interpreter(python: &Path) -> Result<PathBuf> {
    let output = Command::new(python)
        .args(["-I", "-c", "import sys; print(sys.executable)"])
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("cannot run --python {}", python.display()))?;
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(
        output.status.success() && !path.is_empty(),
        "--python {} is not a Python interpreter: {}",
        python.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(path.into())
}

/// Why a run failed: the last line of the error, or what ended the process.
fn reason(status: ExitStatus, errors: &mut File) -> Result<String> {
    let length = errors.seek(SeekFrom::End(0))?;
    errors.seek(SeekFrom::Start(length.saturating_sub(MAX_ERROR)))?;
    let mut tail = Vec::new();
    errors.take(MAX_ERROR).read_to_end(&mut tail)?;
    let tail = String::from_utf8_lossy(&tail);
    let last = tail.lines().rev().find(|line| !line.trim().is_empty());
    Ok(match last {
        Some(line) => line.trim().chars().filter(|letter| !letter.is_control()).collect(),
        None if status.success() => "ended before the end of the tests".to_owned(),
        None => status.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[tokio::test]
    async fn no_process_is_started_before_others_are_kept_from_reading_this_one() {
        let error = PythonRunner::new(Path::new("/bin/true"), Duration::from_secs(1)).await.unwrap_err();
        assert!(error.to_string().contains("is not a Python interpreter"), "{error}");
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}

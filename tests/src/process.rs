//! Child processes that never outlive the tests, however these end.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A child process, killed on drop, and by the kernel if the tests die before that.
#[derive(Debug)]
pub struct Process {
    id: u32,
    log: PathBuf,
    stop: Sender<()>,
    keeper: Option<JoinHandle<()>>,
}

impl Process {
    /// Runs `program` in the repository's root, with both outputs going to `log`.
    ///
    /// # Errors
    /// What opening the log or starting the program ended with.
    pub fn spawn(program: &Path, arguments: &[String], log: PathBuf) -> io::Result<Self> {
        let output = File::create(&log)?;
        // The kernel kills the child when the thread that started it ends, even by a signal to the tests.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        command.current_dir(crate::repository()).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);

        let (stop, stopped) = mpsc::channel();
        let (report, reported) = mpsc::channel();
        // A thread of its own, which lives as long as the child: a test's thread may end earlier.
        let keeper = thread::spawn(move || match command.spawn() {
            Ok(mut child) => {
                let _ = report.send(Ok(child.id()));
                while !exited(&mut child) {
                    if stopped.recv_timeout(Duration::from_millis(50)) != Err(RecvTimeoutError::Timeout) {
                        break;
                    }
                }
                let _ = child.kill();
                let _ = child.wait();
            }
            Err(error) => {
                let _ = report.send(Err(error));
            }
        });
        let id = reported.recv().unwrap_or_else(|_| Err(io::Error::other("the child's thread died")))?;
        Ok(Self { id, log, stop, keeper: Some(keeper) })
    }

    /// Whether the process has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.keeper.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Sends it a signal, named as in `kill -NAME`.
    ///
    /// # Panics
    /// It has ended.
    pub fn signal(&self, name: &str) {
        assert!(!self.has_ended(), "it has ended\n{}", self.log_tail());
        let status = Command::new("kill").args([&format!("-{name}"), &self.id.to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// All of its output so far.
    #[must_use]
    pub fn output(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The last lines of its output.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = self.output();
        let lines: Vec<_> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default();
        format!("---- {} ----\n{}\n", self.log.display(), tail.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

fn exited(child: &mut Child) -> bool {
    child.try_wait().is_ok_and(|status| status.is_some())
}

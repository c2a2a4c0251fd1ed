//! Child processes that never outlive the tests, however these end.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A child process, killed on drop, and by the kernel if the tests die before that.
#[derive(Debug)]
pub struct Process {
    id: u32,
    log: PathBuf,
    stop: Sender<()>,
    keeper: Option<JoinHandle<()>>,
    exit: Arc<OnceLock<ExitStatus>>,
}

impl Process {
    /// Runs the command: its program, arguments, variables and folder. Both outputs go to `log`.
    ///
    /// # Errors
    /// If the log cannot be opened or the program cannot be started.
    pub fn spawn(command: &Command, log: PathBuf) -> io::Result<Self> {
        let output = File::create(&log)?;
        // The kernel kills the child when the thread that started it ends, even if a signal ends the tests.
        let mut child = Command::new("setpriv");
        child.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => child.env(name, value),
                None => child.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            child.current_dir(folder);
        }
        child.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);

        let (stop, stopped) = mpsc::channel();
        let (report, reported) = mpsc::channel();
        let exit = Arc::new(OnceLock::new());
        let ended = Arc::clone(&exit);
        // A thread of its own, which lives as long as the child: a test's thread may end earlier.
        let keeper = thread::spawn(move || match child.spawn() {
            Ok(mut child) => {
                let _ = report.send(Ok(child.id()));
                while status(&mut child, &ended).is_none() {
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
        Ok(Self { id, log, stop, keeper: Some(keeper), exit })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// How it ended, if it has ended by itself.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.exit.get().copied()
    }

    /// Checks that it still runs.
    ///
    /// # Panics
    /// If it has ended. The message is the end of its output.
    #[track_caller]
    pub fn assert_running(&self) {
        let exit = self.exit_status();
        assert!(exit.is_none(), "it has ended: {exit:?}\n{}", self.log_tail());
    }

    /// Sends it a signal, named as in `kill -NAME`.
    ///
    /// # Panics
    /// If it has ended.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        self.assert_running();
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

/// How the child ended, if it has; records it.
fn status(child: &mut Child, exit: &OnceLock<ExitStatus>) -> Option<ExitStatus> {
    let status = child.try_wait().ok()??;
    Some(*exit.get_or_init(|| status))
}

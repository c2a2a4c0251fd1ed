//! A time limit for tests, so that a hang fails them instead of blocking them.

use std::io::Write;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

/// Far more than any test takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Ends the process with an error if it is not dropped within [`LIMIT`]. A hanging call into libtorch cannot be ended by
/// itself.
pub(crate) struct TimeLimit {
    _alive: Sender<()>,
}

impl TimeLimit {
    /// Starts the limit of the current test.
    pub(crate) fn start() -> Self {
        let (alive, watcher) = mpsc::channel();
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        std::thread::spawn(move || {
            if watcher.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                // eprintln! would write into the test's captured output, which is lost.
                let _ = writeln!(std::io::stderr(), "{test} took longer than {LIMIT:?}");
                std::process::exit(1);
            }
        });
        Self { _alive: alive }
    }
}

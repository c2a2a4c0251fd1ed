//! Ctrl-C. It stops the training but not the program, which still writes the best result so far.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};

/// A request to stop the training. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct StopSignal(Arc<AtomicBool>);

impl StopSignal {
    /// Watches for Ctrl-C. The second one ends the program at once.
    ///
    /// # Errors
    /// If the signal cannot be watched.
    pub fn on_ctrl_c() -> Result<Self> {
        let stop = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot watch for Ctrl-C")?;
        let watcher = stop.clone();
        std::thread::spawn(move || {
            runtime.block_on(async {
                if tokio::signal::ctrl_c().await.is_ok() {
                    watcher.request();
                    tracing::info!("stopping after this step; Ctrl-C again stops at once and writes nothing");
                }
                if tokio::signal::ctrl_c().await.is_ok() {
                    // 128 and the signal's number, by the shells' convention.
                    std::process::exit(130);
                }
            });
        });
        Ok(stop)
    }

    /// Requests that the training stops after the present step.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Ends work before the first step, when there is nothing to write yet.
    ///
    /// # Errors
    /// If a stop was requested.
    pub(super) fn check(&self) -> Result<()> {
        ensure!(!self.is_requested(), "interrupted before the first step; nothing was written");
        Ok(())
    }

    pub(super) fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

//! Ctrl-C, which ends the training but not the program: the best so far is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};

/// Whether somebody wants the training to end. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Watches for Ctrl-C; the second one ends the program at once.
    ///
    /// # Errors
    /// If the signal cannot be watched.
    pub fn on_ctrl_c() -> Result<Self> {
        let stop = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot watch for Ctrl-C")?;
        let told = stop.clone();
        std::thread::spawn(move || {
            runtime.block_on(async {
                if tokio::signal::ctrl_c().await.is_ok() {
                    told.now();
                    tracing::info!("ending after this step; Ctrl-C again ends at once and writes nothing");
                }
                if tokio::signal::ctrl_c().await.is_ok() {
                    // 128 and the signal's number, as shells have it.
                    std::process::exit(130);
                }
            });
        });
        Ok(stop)
    }

    /// Ends the training after the step that runs.
    pub fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Ends what has nothing to write yet.
    ///
    /// # Errors
    /// If somebody wants the training to end.
    pub(super) fn check(&self) -> Result<()> {
        ensure!(!self.wanted(), "interrupted before the first step: nothing is written");
        Ok(())
    }

    pub(super) fn wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

//! What is seen of a training while it runs.

use std::cell::Cell;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use super::Epoch;

/// A bar on standard error; nothing if that is no terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    /// A running mean, since single steps differ much.
    loss: Cell<Option<f64>>,
    best: Cell<f64>,
}

impl Progress {
    /// Of so many texts.
    pub(super) fn counting(what: &str, texts: usize) -> Result<Self> {
        Self::new(&format!("{what} {{bar:30}} {{pos}}/{{len}} texts, {{eta}} left"), texts, 0)
    }

    /// Of so many steps, of which some are done.
    pub(super) fn training(steps: usize, done: usize) -> Result<Self> {
        Self::new("training {bar:30} {pos}/{len} steps, {eta} left, {msg}", steps, done)
    }

    fn new(template: &str, length: usize, done: usize) -> Result<Self> {
        let bar = ProgressBar::new(length as u64).with_style(ProgressStyle::with_template(template)?);
        bar.set_position(done as u64);
        bar.reset_eta();
        Ok(Self { bar, loss: Cell::new(None), best: Cell::new(0.0) })
    }

    pub(super) fn add(&self, count: usize) {
        self.bar.inc(count as u64);
    }

    /// One more step, with its loss.
    pub(super) fn step(&self, loss: f64) {
        let mean = self.loss.get().map_or(loss, |mean| 0.95 * mean + 0.05 * loss);
        self.loss.set(Some(mean));
        self.bar.set_message(format!("loss {mean:.4}, best validation {:.4}", self.best.get()));
        self.bar.inc(1);
    }

    /// The epochs so far.
    pub(super) fn score(&self, epochs: &[Epoch]) {
        self.best.set(epochs.iter().map(|epoch| epoch.score).fold(f64::NEG_INFINITY, f64::max));
    }

    /// A line that stays.
    pub(super) fn println(&self, line: &str) {
        if self.bar.is_hidden() {
            tracing::info!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish();
    }
}

//! Shows the progress of a training: a bar on a terminal, else lines in the log at intervals.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use parking_lot::Mutex;

/// Interval between lines where there is no bar.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// Progress on standard error.
pub(super) struct ProgressDisplay {
    bar: ProgressBar,
    what: &'static str,
    unit: &'static str,
    /// How much was done before this process.
    done_before: u64,
    /// When the work ends at the latest.
    deadline: Option<Instant>,
    shown: Mutex<Shown>,
}

struct Shown {
    last_line: Instant,
    /// A running mean, since the losses of single steps vary widely.
    loss: Option<f64>,
    best_score: f64,
}

impl ProgressDisplay {
    /// Shows progress through this number of texts.
    pub(super) fn counting(what: &'static str, texts: usize) -> Result<Self> {
        Self::new(what, "texts", texts, 0, None)
    }

    /// Shows progress through the steps of a training after `done` steps.
    pub(super) fn training(steps: usize, done: usize, deadline: Option<Instant>) -> Result<Self> {
        Self::new("training", "steps", steps, done, deadline)
    }

    fn new(
        what: &'static str,
        unit: &'static str,
        length: usize,
        done: usize,
        deadline: Option<Instant>,
    ) -> Result<Self> {
        let style = ProgressStyle::with_template(&format!(
            "{what} {{bar:30}} {{pos}}/{{len}} {unit}, {{left}} left{{msg}}"
        ))?;
        let style = style.with_key("left", move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            // Training continues even if its bar cannot be drawn.
            let _ = write!(out, "{:#}", HumanDuration(bounded(state.eta(), deadline)));
        });
        let bar = ProgressBar::new(length as u64).with_style(style);
        bar.set_position(done as u64);
        bar.reset_eta();
        let shown = Shown { last_line: Instant::now(), loss: None, best_score: f64::NEG_INFINITY };
        Ok(Self { bar, what, unit, done_before: done as u64, deadline, shown: Mutex::new(shown) })
    }

    /// Adds what was done.
    pub(super) fn add(&self, count: usize) {
        self.bar.inc(count as u64);
        self.tick();
    }

    /// Adds a step, with its loss.
    pub(super) fn step(&self, loss: f64) {
        let mut shown = self.shown.lock();
        shown.loss = Some(shown.loss.map_or(loss, |mean| 0.95 * mean + 0.05 * loss));
        let message = shown.message();
        drop(shown);
        self.bar.set_message(message);
        self.add(1);
    }

    /// Sets the best score so far.
    pub(super) fn set_best_score(&self, score: f64) {
        self.shown.lock().best_score = score;
    }

    /// Logs a line if one is due. Call it while work goes on that [`ProgressDisplay::add`] does not count.
    pub(super) fn tick(&self) {
        if self.bar.is_hidden() && self.shown.lock().is_due(Instant::now()) {
            tracing::info!("{}", self.line());
        }
    }

    /// Prints a line above the bar, or logs it.
    pub(super) fn println(&self, line: &str) {
        if self.bar.is_hidden() {
            self.shown.lock().last_line = Instant::now();
            tracing::info!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    /// Ends the display.
    pub(super) fn finish(&self) {
        self.bar.finish();
    }

    fn line(&self) -> String {
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or_default());
        let left = match done > self.done_before {
            true => format!(", {:#} left", HumanDuration(bounded(self.bar.eta(), self.deadline))),
            false => String::new(),
        };
        format!("{} {done}/{all} {}{left}{}", self.what, self.unit, self.shown.lock().message())
    }
}

impl Shown {
    /// Whether a line is due. If so, the next one is due after an interval.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now.duration_since(self.last_line) >= LINE_INTERVAL;
        if due {
            self.last_line = now;
        }
        due
    }

    fn message(&self) -> String {
        let loss = self.loss.map_or_else(String::new, |loss| format!(", loss {loss:.4}"));
        let best = match self.best_score.is_finite() {
            true => format!(", best validation {:.4}", self.best_score),
            false => String::new(),
        };
        loss + &best
    }
}

/// The time left, bounded by the deadline.
fn bounded(left: Duration, deadline: Option<Instant>) -> Duration {
    deadline.map_or(left, |deadline| left.min(deadline.saturating_duration_since(Instant::now())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_steps_time_left_loss_and_score() {
        let progress = ProgressDisplay::training(10, 2, None).unwrap();
        assert_eq!(progress.line(), "training 2/10 steps");
        progress.set_best_score(0.75);
        progress.step(2.0);
        progress.step(1.0);
        let line = progress.line();
        assert!(line.starts_with("training 4/10 steps, "), "{line}");
        assert!(line.ends_with(" left, loss 1.9500, best validation 0.7500"), "{line}");
    }

    #[test]
    fn a_deadline_bounds_the_time_left() {
        let hour = Duration::from_secs(3600);
        assert_eq!(bounded(hour, None), hour);
        assert!(bounded(hour, Some(Instant::now() + Duration::from_secs(60))) <= Duration::from_secs(60));
        assert_eq!(bounded(hour, Some(Instant::now())), Duration::ZERO);
    }

    #[test]
    fn lines_come_at_intervals() {
        let start = Instant::now();
        let mut shown = Shown { last_line: start, loss: None, best_score: 0.0 };
        assert!(!shown.is_due(start + LINE_INTERVAL / 2));
        assert!(shown.is_due(start + LINE_INTERVAL));
        assert!(!shown.is_due(start + LINE_INTERVAL));
    }
}

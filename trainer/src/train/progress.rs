//! What is seen of a training while it runs: a bar on a terminal, else a line of the log now and then.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use parking_lot::Mutex;

/// How often there is a line, where there is no bar.
const EVERY: Duration = Duration::from_secs(30);

/// How far something is, on standard error.
pub(super) struct Progress {
    bar: ProgressBar,
    what: &'static str,
    unit: &'static str,
    /// How much was done before.
    before: u64,
    /// When it ends at the latest.
    until: Option<Instant>,
    seen: Mutex<Seen>,
}

struct Seen {
    /// When there was a line last.
    told: Instant,
    /// A running mean, since single steps differ much.
    loss: Option<f64>,
    best: f64,
}

impl Progress {
    /// Of so many texts.
    pub(super) fn counting(what: &'static str, texts: usize) -> Result<Self> {
        Self::new(what, "texts", texts, 0, None)
    }

    /// Of so many steps, of which some are done.
    pub(super) fn training(steps: usize, done: usize, until: Option<Instant>) -> Result<Self> {
        Self::new("training", "steps", steps, done, until)
    }

    fn new(
        what: &'static str,
        unit: &'static str,
        length: usize,
        done: usize,
        until: Option<Instant>,
    ) -> Result<Self> {
        let style = ProgressStyle::with_template(&format!(
            "{what} {{bar:30}} {{pos}}/{{len}} {unit}, {{left}} left{{msg}}"
        ))?;
        let style = style.with_key("left", move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            // A bar that cannot be drawn in full is no reason to end.
            let _ = write!(out, "{:#}", HumanDuration(at_most(state.eta(), until)));
        });
        let bar = ProgressBar::new(length as u64).with_style(style);
        bar.set_position(done as u64);
        bar.reset_eta();
        let seen = Seen { told: Instant::now(), loss: None, best: f64::NEG_INFINITY };
        Ok(Self { bar, what, unit, before: done as u64, until, seen: Mutex::new(seen) })
    }

    /// So many more are done.
    pub(super) fn add(&self, count: usize) {
        self.bar.inc(count as u64);
        self.beat();
    }

    /// One more step, with its loss.
    pub(super) fn step(&self, loss: f64) {
        let mut seen = self.seen.lock();
        seen.loss = Some(seen.loss.map_or(loss, |mean| 0.95 * mean + 0.05 * loss));
        let message = seen.message();
        drop(seen);
        self.bar.set_message(message);
        self.add(1);
    }

    /// The best score so far.
    pub(super) fn score(&self, best: f64) {
        self.seen.lock().best = best;
    }

    /// It still runs.
    pub(super) fn beat(&self) {
        if self.bar.is_hidden() && self.seen.lock().is_due(Instant::now()) {
            tracing::info!("{}", self.line());
        }
    }

    /// A line that stays.
    pub(super) fn println(&self, line: &str) {
        if self.bar.is_hidden() {
            self.seen.lock().told = Instant::now();
            tracing::info!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    /// It is over.
    pub(super) fn finish(&self) {
        self.bar.finish();
    }

    /// How far it is, as a line.
    fn line(&self) -> String {
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or_default());
        let left = match done > self.before {
            true => format!(", {:#} left", HumanDuration(at_most(self.bar.eta(), self.until))),
            false => String::new(),
        };
        format!("{} {done}/{all} {}{left}{}", self.what, self.unit, self.seen.lock().message())
    }
}

impl Seen {
    /// Whether it is time for a line; then the next is due later.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now.duration_since(self.told) >= EVERY;
        if due {
            self.told = now;
        }
        due
    }

    fn message(&self) -> String {
        let loss = self.loss.map_or_else(String::new, |loss| format!(", loss {loss:.4}"));
        let best =
            if self.best.is_finite() { format!(", best validation {:.4}", self.best) } else { String::new() };
        loss + &best
    }
}

fn at_most(left: Duration, until: Option<Instant>) -> Duration {
    until.map_or(left, |until| left.min(until.saturating_duration_since(Instant::now())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is() {
        let progress = Progress::training(10, 2, None).unwrap();
        assert_eq!(progress.line(), "training 2/10 steps");
        progress.score(0.75);
        progress.step(2.0);
        progress.step(1.0);
        let line = progress.line();
        assert!(line.starts_with("training 4/10 steps, "), "{line}");
        assert!(line.ends_with(" left, loss 1.9500, best validation 0.7500"), "{line}");
    }

    #[test]
    fn a_time_budget_bounds_what_is_left() {
        let hour = Duration::from_secs(3600);
        assert_eq!(at_most(hour, None), hour);
        assert!(at_most(hour, Some(Instant::now() + Duration::from_secs(60))) <= Duration::from_secs(60));
        assert_eq!(at_most(hour, Some(Instant::now())), Duration::ZERO);
    }

    #[test]
    fn lines_come_at_intervals() {
        let told = Instant::now();
        let mut seen = Seen { told, loss: None, best: 0.0 };
        assert!(!seen.is_due(told + EVERY / 2));
        assert!(seen.is_due(told + EVERY));
        assert!(!seen.is_due(told + EVERY));
    }
}

//! Shows the progress of a run: a bar on a terminal, else lines in the log at intervals.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use super::calls::{Requester, Spent};

/// Interval between lines where there is no bar.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// Progress on standard error.
pub(super) struct ProgressDisplay {
    bar: ProgressBar,
    has_prices: bool,
    /// The cost of earlier runs, to distinguish rows that this run pays for from those that cost nothing.
    shown: Mutex<Shown>,
}

struct Shown {
    last_line: Instant,
    spent: Spent,
    /// Whether this run has paid for a row, so that there is a time left to show.
    has_paid: bool,
}

impl ProgressDisplay {
    /// Shows the progress through this number of prompts.
    pub(super) fn new(prompts: usize, has_prices: bool, spent: Spent) -> Result<Self> {
        let style = ProgressStyle::with_template("grading {bar:30} {pos}/{len} prompts{msg}")?;
        let shown = Shown { last_line: Instant::now(), spent, has_paid: false };
        let bar = ProgressBar::new(prompts as u64).with_style(style);
        Ok(Self { bar, has_prices, shown: Mutex::new(shown) })
    }

    /// Adds a finished prompt.
    pub(super) fn add(&self, requester: &Requester) {
        self.bar.inc(1);
        let spent = requester.budget.spent();
        let mut shown = self.shown.lock();
        if !shown.has_paid {
            // Prompts from the journal take no time and say nothing about the others.
            self.bar.reset_eta();
        }
        shown.has_paid |= spent.requests > shown.spent.requests;
        drop(shown);
        self.tick(requester);
    }

    /// Shows what has changed, and logs a line if one is due.
    pub(super) fn tick(&self, requester: &Requester) {
        let message = self.message(requester.budget.spent(), requester.retries());
        if self.bar.is_hidden() && self.shown.lock().is_due(Instant::now()) {
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or_default());
            tracing::info!("grading {done}/{all} prompts{message}");
        }
        self.bar.set_message(message);
    }

    /// Prints a line above the bar, or logs it.
    pub(super) fn println(&self, line: &str) {
        match self.bar.is_hidden() {
            true => tracing::info!("{line}"),
            false => self.bar.println(line),
        }
    }

    /// Ends the display.
    pub(super) fn finish(&self) {
        self.bar.abandon();
    }

    fn message(&self, spent: Spent, retries: u64) -> String {
        let left = match self.shown.lock().has_paid {
            true => format!(", {:#} left", HumanDuration(self.bar.eta())),
            false => String::new(),
        };
        let cost = if self.has_prices { format!(", {}", spent.cost) } else { String::new() };
        let retries = if retries > 0 { format!(", {retries} repeated") } else { String::new() };
        format!("{left}{cost}, {} requests{retries}", spent.requests)
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grade::money::Money;

    #[test]
    fn a_message_has_cost_requests_and_repetitions() {
        let progress = ProgressDisplay::new(10, true, Spent::default()).unwrap();
        let spent = Spent { cost: Money::from_price(0.5), requests: 7, unpriced: 0 };
        assert_eq!(progress.message(spent, 2), ", $0.5000, 7 requests, 2 repeated");
        let progress = ProgressDisplay::new(10, false, Spent::default()).unwrap();
        assert_eq!(progress.message(spent, 0), ", 7 requests");
    }

    #[test]
    fn lines_come_at_intervals() {
        let start = Instant::now();
        let mut shown = Shown { last_line: start, spent: Spent::default(), has_paid: false };
        assert!(!shown.is_due(start + LINE_INTERVAL / 2));
        assert!(shown.is_due(start + LINE_INTERVAL));
        assert!(!shown.is_due(start + LINE_INTERVAL));
    }
}

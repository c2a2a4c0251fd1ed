//! The output: a table for people, JSON for scripts.

use std::fmt;

use serde::Serialize;

use super::load::Load;
use super::statistics::Statistics;

/// The results of one run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was measured.
    pub target: String,
    /// The number of different prompts.
    pub prompts: usize,
    /// How long each load was measured, in seconds.
    pub seconds: f64,
    /// The loads, in order.
    pub steps: Vec<Step>,
    /// The peak of this process's memory; none if another process classifies.
    pub peak_resident_bytes: Option<u64>,
}

/// One load and its results.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// The load.
    #[serde(flatten)]
    pub load: Load,
    /// The results.
    #[serde(flatten)]
    pub statistics: Statistics,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, prompts, seconds, .. } = self;
        writeln!(f, "{target}; {prompts} prompts in turn; {seconds} s per load")?;
        let columns =
            ["load", "served/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "overloaded", "too late", "failed"];
        let [load, figures @ ..] = columns;
        write!(f, "{load:<20}")?;
        for name in figures {
            write!(f, "{name:>11}")?;
        }
        writeln!(f)?;
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        if let Some(bytes) = self.peak_resident_bytes {
            writeln!(f, "peak resident memory: {} MB", bytes / 1_000_000)?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Statistics { offered_per_second, answered_per_second, latency_ms, errors } = self.statistics;
        let load = match self.load {
            Load::Callers(callers) => format!("{callers} callers"),
            Load::Rate(rate) => format!("{rate}/s, sent {offered_per_second:.1}"),
        };
        write!(f, "{load:<20}{answered_per_second:>11.1}")?;
        let latency = latency_ms.map(|latency| [latency.p50, latency.p90, latency.p99, latency.max]);
        for percentile in 0..4 {
            match latency.as_ref().and_then(|latency| latency.get(percentile)) {
                Some(milliseconds) => write!(f, "{milliseconds:>11.2}")?,
                None => write!(f, "{:>11}", "-")?,
            }
        }
        write!(f, "{:>11}{:>11}{:>11}", errors.overloaded, errors.deadline_exceeded, errors.failed)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::bench::statistics::{Errors, Latency};

    fn report() -> Report {
        let statistics = Statistics {
            offered_per_second: 49.5,
            answered_per_second: 48.25,
            latency_ms: Some(Latency { p50: 1.0, p90: 2.0, p99: 3.0, max: 4.0 }),
            errors: Errors { overloaded: 5, ..Errors::default() },
        };
        let callers = Load::Callers(NonZeroUsize::MIN);
        let lost = Statistics { latency_ms: None, ..statistics };
        let steps =
            vec![Step { load: callers, statistics }, Step { load: Load::Rate(50.0), statistics: lost }];
        Report { target: "here".to_owned(), prompts: 12, seconds: 5.0, steps, peak_resident_bytes: None }
    }

    #[test]
    fn each_load_has_a_row() {
        let table = report().to_string();
        let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[2], ["1", "callers", "48.2", "1.00", "2.00", "3.00", "4.00", "5", "0", "0"]);
        assert_eq!(rows[3], ["50/s,", "sent", "49.5", "48.2", "-", "-", "-", "-", "5", "0", "0"]);
        assert_eq!(rows.len(), 4);
    }

    #[test]
    fn json_has_the_same_figures_by_name() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["steps"][0]["callers"], 1);
        assert_eq!(json["steps"][0]["latency_ms"]["p99"], 3.0);
        assert_eq!(json["steps"][1]["rate"], 50.0);
        assert_eq!(json["steps"][1]["errors"]["overloaded"], 5);
    }
}

//! What the watched processes used during a load.

use std::fmt;

use serde::Serialize;

use super::report::row;
use super::series::{Row, Series};
use crate::bench::process::Usage;
use crate::bench::trend::Trend;

/// Bytes per megabyte in tables and plots.
const MEGABYTE: f64 = 1e6;

/// What a process used during a load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProcessUsage {
    /// The name that the user gave it.
    pub name: String,
    /// Whether it ended before the end of the load.
    pub has_ended: bool,
    /// Resident memory in megabytes.
    pub resident_mb: Trend,
    /// File descriptors.
    pub open_files: Trend,
    /// Threads.
    pub threads: Trend,
    /// Processor time per time, on average.
    pub cpu_cores: f64,
}

impl ProcessUsage {
    /// The usage of each process of a series. A process that was never seen is left out.
    #[must_use]
    pub fn compute(series: &Series) -> Vec<Self> {
        let usage = |(index, name)| Self::of_rows(name, index, series.rows());
        series.names().enumerate().filter_map(usage).collect()
    }

    fn of_rows(name: &str, index: usize, rows: &[Row]) -> Option<Self> {
        let has_ended = rows.last()?.usage.get(index)?.is_none();
        let trend = |figure: &dyn Fn(&Usage) -> f64| Trend::compute(&over_time(rows, index, figure));
        let time = over_time(rows, index, |usage| usage.cpu_seconds);
        let ((from, first), (to, last)) = (time.first()?, time.last()?);
        Some(Self {
            name: name.to_owned(),
            has_ended,
            resident_mb: trend(&megabytes)?,
            open_files: trend(&|usage| usage.open_files as f64)?,
            threads: trend(&|usage| usage.threads as f64)?,
            cpu_cores: if to > from { (last - first) / (to - from) } else { 0.0 },
        })
    }
}

/// A figure of a process, each value after its time in seconds.
pub(super) fn over_time(rows: &[Row], index: usize, figure: impl Fn(&Usage) -> f64) -> Vec<(f64, f64)> {
    let value = |row: &Row| Some((row.seconds, figure(row.usage.get(index)?.as_ref()?)));
    rows.iter().filter_map(value).collect()
}

/// Resident memory.
pub(super) fn megabytes(usage: &Usage) -> f64 {
    usage.resident_bytes as f64 / MEGABYTE
}

impl fmt::Display for ProcessUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, has_ended, resident_mb, open_files, threads, cpu_cores } = self;
        for (figure, trend, decimals) in
            [("memory, MB", resident_mb, 1), ("open files", open_files, 0), ("threads", threads, 0)]
        {
            let Trend { first, last, max, per_hour } = trend;
            let cells = [first, last, max].map(|value| format!("{value:.decimals$}"));
            let [first, last, max] = cells.each_ref().map(String::as_str);
            let per_hour = per_hour.map_or_else(|| "-".to_owned(), |slope| format!("{slope:+.1}"));
            row(f, &format!("{name}: {figure}"), &[first, last, max, &per_hour])?;
        }
        writeln!(f, "{name}: {cpu_cores:.2} cores on average{}", if *has_ended { "; it ended" } else { "" })
    }
}

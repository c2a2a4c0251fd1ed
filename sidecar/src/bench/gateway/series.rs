//! The gateway and the watched processes over time: a row for each interval, also as a CSV file.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::sample::{Sample, Side};
use crate::bench::process::{Process, Usage};
use crate::bench::statistics::percentile;

/// How often a progress line is logged.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(60);

/// Collects rows.
#[derive(Debug)]
pub struct Series {
    interval: Duration,
    begin: Instant,
    processes: Vec<Process>,
    rows: Vec<Row>,
    current: Current,
    file: Option<CsvFile>,
    logged: Instant,
}

/// An interval, and what the processes used at its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The end of the interval, in seconds since the load began.
    pub seconds: f64,
    /// Completions that came in the interval.
    pub served_per_second: f64,
    /// Their median latency in milliseconds, if there were any.
    pub p50_ms: Option<f64>,
    /// The 99th percentile.
    pub p99_ms: Option<f64>,
    /// Requests that failed in the interval.
    pub failed: usize,
    /// What each process used; none once it has ended.
    pub usage: Vec<Option<Usage>>,
}

/// The interval that has not ended yet.
#[derive(Debug)]
struct Current {
    begin: Instant,
    milliseconds: Vec<f64>,
    failed: usize,
}

impl Current {
    fn new(begin: Instant) -> Self {
        Self { begin, milliseconds: Vec::new(), failed: 0 }
    }
}

#[derive(Debug)]
struct CsvFile {
    file: File,
    path: PathBuf,
}

impl Series {
    /// Begins a series, and its CSV file if there is to be one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn begin(interval: Duration, processes: Vec<Process>, path: Option<&Path>) -> Result<Self> {
        let file = path.map(CsvFile::create).transpose()?;
        let begin = Instant::now();
        let (rows, current) = (Vec::new(), Current::new(begin));
        let mut series = Self { interval, begin, processes, rows, current, file, logged: begin };
        let header = series.header();
        series.write(&header)?;
        Ok(series)
    }

    /// The time between two rows.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The rows so far. The first is from before the load.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The names of the processes, in the order of their usage in the rows.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.processes.iter().map(|process| process.name.as_str())
    }

    /// Counts a request that has just ended. Those that did not go through the gateway are left out.
    pub(super) fn add(&mut self, sample: &Sample) {
        match (sample.side, sample.latency_ms()) {
            (Side::Gateway, Some(milliseconds)) => self.current.milliseconds.push(milliseconds),
            (Side::Gateway, None) => self.current.failed += 1,
            (Side::Direct, _) => {}
        }
    }

    /// Adds a row, and begins the next interval.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn end_interval(&mut self) -> Result<()> {
        let now = Instant::now();
        let Current { begin, mut milliseconds, failed } =
            std::mem::replace(&mut self.current, Current::new(now));
        milliseconds.sort_by(f64::total_cmp);
        let elapsed = now.duration_since(begin).as_secs_f64();
        let row = Row {
            seconds: now.duration_since(self.begin).as_secs_f64(),
            served_per_second: if elapsed > 0.0 { milliseconds.len() as f64 / elapsed } else { 0.0 },
            p50_ms: percentile(&milliseconds, 0.5),
            p99_ms: percentile(&milliseconds, 0.99),
            failed,
            usage: self.processes.iter().map(Process::usage).collect(),
        };
        self.log(&row, now);
        let line = row.to_csv();
        self.rows.push(row);
        self.write(&line)
    }

    fn log(&mut self, row: &Row, now: Instant) {
        if now.duration_since(self.logged) >= PROGRESS_INTERVAL {
            self.logged = now;
            let minutes = (row.seconds / 60.0).round();
            tracing::info!(minutes, row.served_per_second, row.p99_ms, row.failed, "under load");
        }
    }

    fn header(&self) -> String {
        let mut header = "seconds,served_per_second,p50_ms,p99_ms,failed".to_owned();
        for name in self.names() {
            for figure in ["resident_bytes", "open_files", "threads", "cpu_seconds"] {
                header.push_str(&format!(",{name}_{figure}"));
            }
        }
        header
    }

    fn write(&mut self, line: &str) -> Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.write(line))
    }
}

impl Row {
    /// One line without its end. What there is not is empty.
    fn to_csv(&self) -> String {
        let optional = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
        let mut line = format!("{:.3},{:.3}", self.seconds, self.served_per_second);
        line.push_str(&format!(",{},{},{}", optional(self.p50_ms), optional(self.p99_ms), self.failed));
        for usage in &self.usage {
            match usage {
                Some(Usage { resident_bytes, open_files, threads, cpu_seconds }) => {
                    line.push_str(&format!(",{resident_bytes},{open_files},{threads},{cpu_seconds:.2}"));
                }
                None => line.push_str(",,,,"),
            }
        }
        line
    }
}

impl CsvFile {
    fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Writes at once, so that the rows are there however the process ends.
    fn write(&mut self, line: &str) -> Result<()> {
        let line = format!("{line}\n");
        self.file.write_all(line.as_bytes()).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure::Failure;
    use super::super::sample::{Completed, Labels};
    use super::*;
    use crate::bench::process::ProcessArg;

    fn sample(side: Side, outcome: Result<u64, Failure>) -> Sample {
        let due = Instant::now();
        let completed =
            |milliseconds| Completed { done: due + Duration::from_millis(milliseconds), first_event: None };
        Sample {
            pair: 0,
            side,
            is_streamed: false,
            due,
            labels: Labels::default(),
            outcome: outcome.map(completed),
        }
    }

    #[test]
    fn each_interval_is_a_row_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("series.csv");
        let this: ProcessArg = format!("this={}", std::process::id()).parse().unwrap();
        let processes = vec![Process::open(&this).unwrap()];
        let mut series = Series::begin(Duration::from_secs(1), processes, Some(&path)).unwrap();
        series.end_interval().unwrap();
        for milliseconds in [1, 2, 3] {
            series.add(&sample(Side::Gateway, Ok(milliseconds)));
        }
        series.add(&sample(Side::Gateway, Err(Failure::Timeout)));
        series.add(&sample(Side::Direct, Ok(99)));
        series.end_interval().unwrap();
        let [before, row] = series.rows() else { panic!("{series:?}") };
        assert_eq!((before.p50_ms, before.failed), (None, 0));
        assert_eq!((row.p50_ms, row.p99_ms, row.failed), (Some(2.0), Some(3.0), 1));
        assert!(row.served_per_second > 0.0);

        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<Vec<_>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(lines[0][..5], ["seconds", "served_per_second", "p50_ms", "p99_ms", "failed"]);
        assert_eq!(
            lines[0][5..],
            ["this_resident_bytes", "this_open_files", "this_threads", "this_cpu_seconds"]
        );
        assert_eq!(lines[2][2..5], ["2.000", "3.000", "1"]);
        assert!(
            lines[1..].iter().all(|line| line.len() == 9 && line[5].parse::<u64>().unwrap() > 0),
            "{text}"
        );
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let error =
            Series::begin(Duration::from_secs(1), Vec::new(), Some(Path::new("no/such.csv"))).unwrap_err();
        assert_eq!(error.to_string(), "cannot write no/such.csv");
    }
}

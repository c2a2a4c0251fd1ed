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
    /// Completions that ended in the interval.
    pub served_per_second: f64,
    /// Latency of those that were not streamed.
    pub latency: Quantiles,
    /// Time to the first event of streams.
    pub first_event: Quantiles,
    /// Requests that failed in the interval.
    pub failed: usize,
    /// What each process used; none once it has ended.
    pub usage: Vec<Option<Usage>>,
}

/// Quantiles in milliseconds; none if there was nothing to measure.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Quantiles {
    /// The median.
    pub p50: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
}

/// The interval that has not ended yet.
#[derive(Debug)]
struct Current {
    begin: Instant,
    latencies: Vec<f64>,
    first_events: Vec<f64>,
    failed: usize,
}

impl Current {
    fn new(begin: Instant) -> Self {
        Self { begin, latencies: Vec::new(), first_events: Vec::new(), failed: 0 }
    }
}

impl Quantiles {
    fn compute(mut milliseconds: Vec<f64>) -> Self {
        milliseconds.sort_by(f64::total_cmp);
        Self { p50: percentile(&milliseconds, 0.5), p99: percentile(&milliseconds, 0.99) }
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
        if sample.side != Side::Gateway {
            return;
        }
        match (sample.first_event_ms(), sample.latency_ms()) {
            (Some(first_event), _) => self.current.first_events.push(first_event),
            (None, Some(latency)) => self.current.latencies.push(latency),
            (None, None) => self.current.failed += 1,
        }
    }

    /// Adds a row, and begins the next interval.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn end_interval(&mut self) -> Result<()> {
        let now = Instant::now();
        let Current { begin, latencies, first_events, failed } =
            std::mem::replace(&mut self.current, Current::new(now));
        let served = latencies.len() + first_events.len();
        let elapsed = now.duration_since(begin).as_secs_f64();
        let row = Row {
            seconds: now.duration_since(self.begin).as_secs_f64(),
            served_per_second: if elapsed > 0.0 { served as f64 / elapsed } else { 0.0 },
            latency: Quantiles::compute(latencies),
            first_event: Quantiles::compute(first_events),
            failed,
            usage: self.processes.iter().map(Process::usage).collect(),
        };
        self.log(&row, now);
        let line = row.to_csv();
        self.rows.push(row);
        self.write(&line)
    }

    fn log(&mut self, row: &Row, now: Instant) {
        // A row comes a little early or late.
        if now.duration_since(self.logged) + self.interval / 2 >= PROGRESS_INTERVAL {
            self.logged = now;
            let Row { served_per_second, failed, .. } = row;
            tracing::info!(minutes = (row.seconds / 60.0).round(), served_per_second, failed, "under load");
        }
    }

    fn header(&self) -> String {
        let mut header =
            "seconds,served_per_second,p50_ms,p99_ms,first_event_p50_ms,first_event_p99_ms,failed".to_owned();
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
    /// One line without its line break. Missing values are empty.
    fn to_csv(&self) -> String {
        let mut line = format!("{:.3},{:.3}", self.seconds, self.served_per_second);
        for value in [self.latency.p50, self.latency.p99, self.first_event.p50, self.first_event.p99] {
            line.push_str(&value.map_or_else(|| ",".to_owned(), |value| format!(",{value:.3}")));
        }
        line.push_str(&format!(",{}", self.failed));
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

    /// Writes at once, so that no row is lost if the process ends.
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

    fn sample(side: Side, first_event: Option<u64>, outcome: Result<u64, Failure>) -> Sample {
        let due = Instant::now();
        let after = |milliseconds| due + Duration::from_millis(milliseconds);
        let completed = |done| Completed { done: after(done), first_event: first_event.map(after) };
        let (is_streamed, labels) = (first_event.is_some(), Labels::default());
        Sample { pair: 0, side, is_streamed, due, labels, outcome: outcome.map(completed) }
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
            series.add(&sample(Side::Gateway, None, Ok(milliseconds)));
        }
        series.add(&sample(Side::Gateway, Some(4), Ok(50)));
        series.add(&sample(Side::Gateway, None, Err(Failure::Timeout)));
        series.add(&sample(Side::Direct, None, Ok(99)));
        series.end_interval().unwrap();
        let [before, row] = series.rows() else { panic!("{series:?}") };
        assert_eq!((before.latency, before.failed), (Quantiles::default(), 0));
        assert_eq!(row.latency, Quantiles { p50: Some(2.0), p99: Some(3.0) });
        assert_eq!(row.first_event, Quantiles { p50: Some(4.0), p99: Some(4.0) });
        assert!(row.failed == 1 && row.served_per_second > 0.0, "{row:?}");

        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<Vec<_>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(lines[0][..4], ["seconds", "served_per_second", "p50_ms", "p99_ms"]);
        assert_eq!(lines[0][4..7], ["first_event_p50_ms", "first_event_p99_ms", "failed"]);
        assert_eq!(
            lines[0][7..],
            ["this_resident_bytes", "this_open_files", "this_threads", "this_cpu_seconds"]
        );
        assert_eq!(lines[1][2..7], ["", "", "", "", "0"]);
        assert_eq!(lines[2][2..7], ["2.000", "3.000", "4.000", "4.000", "1"]);
        assert!(
            lines[1..].iter().all(|line| line.len() == 11 && line[7].parse::<u64>().unwrap() > 0),
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

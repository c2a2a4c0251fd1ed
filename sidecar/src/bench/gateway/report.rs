//! The output: a table for people, JSON for scripts.

use std::fmt;

use serde::Serialize;

use super::added::{Added, Estimate};
use super::figures::{Figures, Group};
use super::step::Step;
use super::usage::ProcessUsage;
use crate::bench::load::Load;
use crate::bench::statistics::Latency;

/// Width of the first column.
const NAME_WIDTH: usize = 24;

/// The results of one run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The URL of the gateway's chat completions.
    pub gateway: String,
    /// That of the LLM itself, if it was measured.
    pub direct: Option<String>,
    /// The number of different prompts.
    pub prompts: usize,
    /// The loads, in order.
    pub steps: Vec<Step>,
    /// The watched processes.
    pub processes: Vec<ProcessUsage>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "gateway: {}", self.gateway)?;
        if let Some(direct) = &self.direct {
            writeln!(f, "direct: {direct}")?;
        }
        writeln!(f, "{} prompts in turn", self.prompts)?;
        for step in &self.steps {
            write!(f, "\n{step}")?;
        }
        if !self.processes.is_empty() {
            writeln!(f)?;
            row(f, "process", &["first", "last", "max", "per hour"])?;
        }
        self.processes.iter().try_for_each(|process| process.fmt(f))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = match self.load {
            Load::Callers(callers) => format!("{callers} callers"),
            Load::Rate(rate) => format!("{rate}/s"),
        };
        let heading = format!("{load} for {:.0} s", self.seconds);
        row(f, &heading, &["requests", "served/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "failed"])?;
        figures(f, "gateway", &self.gateway)?;
        if let Some(comparison) = &self.comparison {
            figures(f, "direct", &comparison.direct)?;
            let added = [
                ("  not streamed", comparison.added_ms),
                ("  streams", comparison.added_to_streams_ms),
                ("  streams, first event", comparison.added_to_first_event_ms),
            ];
            writeln!(f, "added by the gateway, with 95 % intervals")?;
            for (name, added) in added.into_iter().filter_map(|(name, added)| Some((name, added?))) {
                writeln!(f, "{name:<NAME_WIDTH$}  {added}")?;
            }
        }
        groups(f, "model", &self.models)?;
        groups(f, "reason", &self.reasons)?;
        for (side, kind, count) in self.errors() {
            let example = self.failures.iter().find(|example| (example.side, example.kind) == (side, kind));
            let detail = example.map(|example| example.detail.as_str()).unwrap_or_default();
            writeln!(f, "failed, {side}: {count} × {kind}, such as: {detail}")?;
        }
        Ok(())
    }
}

fn figures(f: &mut fmt::Formatter<'_>, name: &str, figures: &Figures) -> fmt::Result {
    let latency = percentiles(figures.latency_ms.as_ref());
    let [p50, p90, p99, max] = latency.each_ref().map(String::as_str);
    let (requests, failed) = (figures.requests.to_string(), figures.failed().to_string());
    let served = format!("{:.1}", figures.served_per_second);
    row(f, name, &[&requests, &served, p50, p90, p99, max, &failed])?;
    let Some(streams) = &figures.streams else { return Ok(()) };
    let others = figures.not_streamed.as_ref().map(|it| ("  not streamed", it.completions, &it.latency_ms));
    let streams = [
        ("  streams", streams.completions, &streams.latency_ms),
        ("  streams, first event", streams.completions, &streams.first_event_ms),
    ];
    for (name, completions, latency) in others.into_iter().chain(streams) {
        let latency = percentiles(Some(latency));
        let [p50, p90, p99, max] = latency.each_ref().map(String::as_str);
        row(f, name, &[&completions.to_string(), "", p50, p90, p99, max])?;
    }
    Ok(())
}

fn groups(f: &mut fmt::Formatter<'_>, heading: &str, groups: &[Group]) -> fmt::Result {
    if groups.iter().all(|group| group.name.is_none()) {
        return writeln!(f, "no response has a header with the {heading}");
    }
    row(f, heading, &["requests", "p50 ms", "p99 ms", "failed"])?;
    for group in groups {
        let [p50, _, p99, _] = percentiles(group.latency_ms.as_ref());
        let (requests, failed) = (group.requests.to_string(), group.failed.to_string());
        row(f, group.name.as_deref().unwrap_or("-"), &[&requests, &p50, &p99, &failed])?;
    }
    Ok(())
}

fn percentiles(latency: Option<&Latency>) -> [String; 4] {
    match latency {
        Some(Latency { p50, p90, p99, max }) => {
            [p50, p90, p99, max].map(|milliseconds| format!("{milliseconds:.2}"))
        }
        None => ["-", "-", "-", "-"].map(str::to_owned),
    }
}

/// A row of the table.
pub(super) fn row(f: &mut fmt::Formatter<'_>, name: &str, cells: &[&str]) -> fmt::Result {
    write!(f, "{name:<NAME_WIDTH$}")?;
    let line: String = cells.iter().map(|cell| format!("{cell:>11}")).collect();
    writeln!(f, "{}", line.trim_end())
}

impl fmt::Display for Added {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quantile = |name, estimate: Option<Estimate>| match estimate {
            Some(Estimate { ms, low, high }) => format!("{name} {ms:+.2} ms [{low:+.2} to {high:+.2}]"),
            None => format!("{name} needs more pairs"),
        };
        write!(f, "{}, {}", quantile("p50", self.p50), quantile("p99", self.p99))?;
        write!(f, ", {} pairs", self.pairs)
    }
}

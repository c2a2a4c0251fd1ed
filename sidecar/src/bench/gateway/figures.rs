//! Figures of requests: rates, latencies, and errors by kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::failure::Failure;
use super::sample::{Labels, Sample};
use crate::bench::statistics::{Latency, Window};

/// Figures of the requests to one target that were due in a period.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Requests.
    pub requests: usize,
    /// Requests per second.
    pub offered_per_second: f64,
    /// Completions per second that ended in the period.
    pub served_per_second: f64,
    /// From when a request was due to the last byte of its completion; none if there is no completion.
    pub latency_ms: Option<Latency>,
    /// The completions that were not streamed, if there are any.
    pub not_streamed: Option<NotStreamed>,
    /// Those that were, if there are any.
    pub streams: Option<Streams>,
    /// Failed requests by kind.
    pub errors: BTreeMap<Failure, usize>,
}

/// Figures of completions that were not streamed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NotStreamed {
    /// Completions.
    pub completions: usize,
    /// From when a request was due to the last byte.
    pub latency_ms: Latency,
}

/// Figures of streamed completions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Streams {
    /// Completions.
    pub completions: usize,
    /// From when a request was due to the last byte.
    pub latency_ms: Latency,
    /// From when a request was due to the first event.
    pub first_event_ms: Latency,
}

/// Figures of the requests with the same model or the same reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// The name in the response header; none without the header, for example if there was no response.
    pub name: Option<String>,
    /// Requests.
    pub requests: usize,
    /// Failed requests.
    pub failed: usize,
    /// Latency of the completed requests.
    pub latency_ms: Option<Latency>,
}

impl Figures {
    /// Computes the figures of samples, including those outside of the period.
    #[must_use]
    pub fn compute(samples: &[&Sample], window: Window) -> Self {
        let seconds = window.seconds();
        let per_second = |count: usize| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let is_served = |sample: &&&Sample| sample.outcome.is_ok_and(|completed| window.has(completed.done));
        let due = due(samples, window);
        let mut errors = BTreeMap::new();
        for failure in due.iter().filter_map(|sample| sample.outcome.err()) {
            *errors.entry(failure).or_default() += 1;
        }
        Self {
            requests: due.len(),
            offered_per_second: per_second(due.len()),
            served_per_second: per_second(samples.iter().filter(is_served).count()),
            latency_ms: latency(due.iter().filter_map(|sample| sample.latency_ms())),
            not_streamed: NotStreamed::compute(&due),
            streams: Streams::compute(&due),
            errors,
        }
    }

    /// The number of requests that failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.errors.values().sum()
    }
}

impl NotStreamed {
    fn compute(samples: &[&Sample]) -> Option<Self> {
        let completions = completions(samples, false);
        let latency_ms = latency(completions.iter().filter_map(|sample| sample.latency_ms()))?;
        Some(Self { completions: completions.len(), latency_ms })
    }
}

impl Streams {
    fn compute(samples: &[&Sample]) -> Option<Self> {
        let streams = completions(samples, true);
        Some(Self {
            completions: streams.len(),
            latency_ms: latency(streams.iter().filter_map(|sample| sample.latency_ms()))?,
            first_event_ms: latency(streams.iter().filter_map(|sample| sample.first_event_ms()))?,
        })
    }
}

impl Group {
    /// Groups the samples that were due in the period, the largest group first.
    #[must_use]
    pub fn compute(
        samples: &[&Sample],
        window: Window,
        name: impl Fn(&Labels) -> Option<&Arc<str>>,
    ) -> Vec<Self> {
        let mut groups: BTreeMap<_, Vec<&Sample>> = BTreeMap::new();
        for sample in due(samples, window) {
            groups.entry(name(&sample.labels)).or_default().push(sample);
        }
        let group = |(name, samples): (Option<&Arc<str>>, Vec<&Sample>)| Self {
            name: name.map(ToString::to_string),
            requests: samples.len(),
            failed: samples.iter().filter(|sample| sample.outcome.is_err()).count(),
            latency_ms: latency(samples.iter().filter_map(|sample| sample.latency_ms())),
        };
        let mut groups: Vec<_> = groups.into_iter().map(group).collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.requests));
        groups
    }
}

fn due<'a>(samples: &[&'a Sample], window: Window) -> Vec<&'a Sample> {
    samples.iter().copied().filter(|sample| window.has(sample.due)).collect()
}

fn completions<'a>(samples: &[&'a Sample], is_streamed: bool) -> Vec<&'a Sample> {
    let is_one = |sample: &&Sample| sample.is_streamed == is_streamed && sample.outcome.is_ok();
    samples.iter().copied().filter(is_one).collect()
}

fn latency(milliseconds: impl Iterator<Item = f64>) -> Option<Latency> {
    let mut milliseconds: Vec<_> = milliseconds.collect();
    milliseconds.sort_by(f64::total_cmp);
    Latency::compute(&milliseconds)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::sample::{Completed, Side};
    use super::*;

    /// Samples of a period of two seconds from the second one on: when due, when the first event came, when it ended, or
    /// why it failed; and the model.
    struct Samples {
        zero: Instant,
        samples: Vec<Sample>,
    }

    impl Samples {
        fn new() -> Self {
            Self { zero: Instant::now(), samples: Vec::new() }
        }

        fn at(&self, milliseconds: u64) -> Instant {
            self.zero + Duration::from_millis(milliseconds)
        }

        fn add(&mut self, model: &str, due: u64, first_event: Option<u64>, end: Result<u64, Failure>) {
            let completed =
                |done| Completed { done: self.at(done), first_event: first_event.map(|at| self.at(at)) };
            let sample = Sample {
                pair: 0,
                side: Side::Gateway,
                is_streamed: first_event.is_some(),
                due: self.at(due),
                labels: Labels { model: (!model.is_empty()).then(|| model.into()), reason: None },
                outcome: end.map(completed),
            };
            self.samples.push(sample);
        }

        fn window(&self) -> Window {
            Window { start: self.at(1000), end: self.at(3000) }
        }

        fn all(&self) -> Vec<&Sample> {
            self.samples.iter().collect()
        }
    }

    #[test]
    fn requests_of_the_warm_up_count_only_when_they_are_served_in_the_period() {
        let mut samples = Samples::new();
        samples.add("a", 0, None, Ok(900));
        samples.add("a", 900, None, Ok(1100));
        samples.add("a", 2000, None, Ok(2010));
        samples.add("a", 2900, None, Ok(3900));
        let figures = Figures::compute(&samples.all(), samples.window());
        assert_eq!((figures.requests, figures.offered_per_second, figures.served_per_second), (2, 1.0, 1.0));
        assert_eq!(figures.latency_ms.unwrap().max, 1000.0);
        assert_eq!((figures.streams, figures.failed()), (None, 0));
    }

    #[test]
    fn streams_have_figures_of_their_own() {
        let mut samples = Samples::new();
        samples.add("a", 1000, Some(1004), Ok(1100));
        samples.add("a", 1000, None, Ok(1500));
        let figures = Figures::compute(&samples.all(), samples.window());
        let (others, streams) = (figures.not_streamed.unwrap(), figures.streams.unwrap());
        assert_eq!((others.completions, others.latency_ms.p50), (1, 500.0));
        assert_eq!(
            (streams.completions, streams.latency_ms.p50, streams.first_event_ms.p50),
            (1, 100.0, 4.0)
        );
    }

    #[test]
    fn errors_are_counted_by_kind() {
        let mut samples = Samples::new();
        for failure in [Failure::Status(503), Failure::Status(500), Failure::Status(503), Failure::Timeout] {
            samples.add("", 1000, None, Err(failure));
        }
        let figures = Figures::compute(&samples.all(), samples.window());
        let errors = serde_json::to_value(&figures.errors).unwrap();
        assert_eq!(errors, serde_json::json!({ "timeout": 1, "status_500": 1, "status_503": 2 }));
        assert_eq!((figures.failed(), figures.latency_ms), (4, None));
    }

    #[test]
    fn groups_are_sorted_by_their_size() {
        let mut samples = Samples::new();
        samples.add("small", 1000, None, Ok(1010));
        samples.add("large", 1000, None, Ok(1200));
        samples.add("large", 1000, None, Err(Failure::BrokenOff));
        samples.add("", 1000, None, Err(Failure::Connect));
        samples.add("small", 500, None, Ok(1010));
        let groups = Group::compute(&samples.all(), samples.window(), |labels| labels.model.as_ref());
        let summary: Vec<_> =
            groups.iter().map(|group| (group.name.as_deref(), group.requests, group.failed)).collect();
        assert_eq!(summary, [(Some("large"), 2, 1), (None, 1, 1), (Some("small"), 1, 0)]);
        assert_eq!(groups[0].latency_ms.unwrap().p50, 200.0);
    }

    #[test]
    fn a_load_that_was_stopped_in_its_warm_up_has_no_figures() {
        let samples = Samples::new();
        let window = samples.window().ended_by(Some(samples.at(10)));
        let figures = Figures::compute(&[], window);
        assert_eq!((figures.requests, figures.offered_per_second, figures.latency_ms), (0, 0.0, None));
    }
}

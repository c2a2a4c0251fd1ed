//! Collects the samples of a load while it runs.

use std::collections::{BTreeMap, HashSet};
use std::future::pending;
use std::sync::Arc;

use anyhow::Result;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::failure::Failure;
use super::load::Stop;
use super::sample::{Sample, Side};
use super::series::Series;

/// A request that has ended.
#[derive(Debug)]
pub struct Event {
    /// What is kept.
    pub sample: Sample,
    /// What happened, if it failed.
    pub detail: Option<String>,
}

/// Everything that was recorded.
#[derive(Debug, Default)]
pub struct Recording {
    /// The requests, in the order in which they ended.
    pub samples: Vec<Sample>,
    /// What happened in the first failure of each kind, by side.
    pub examples: BTreeMap<(Side, Failure), String>,
    /// The gateway and the watched processes over time, if requested.
    pub series: Option<Series>,
}

/// Records a load.
#[derive(Debug)]
pub struct Recorder {
    recording: Recording,
    /// Names of models and reasons. They are few, so each is kept once.
    names: HashSet<Arc<str>>,
}

impl Recorder {
    /// Records samples and, if there is one, a series.
    #[must_use]
    pub fn new(series: Option<Series>) -> Self {
        Self { recording: Recording { series, ..Recording::default() }, names: HashSet::new() }
    }

    /// Records until all senders of events are gone. A series that cannot be written stops the load.
    ///
    /// # Errors
    /// If the series cannot be written.
    pub async fn record(mut self, mut events: UnboundedReceiver<Event>, stop: &Stop) -> Result<Recording> {
        let mut ticks = self.recording.series.as_ref().map(|series| {
            let mut ticks = interval_at(Instant::now() + series.interval(), series.interval());
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            ticks
        });
        let mut written = self.end_interval();
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.add(event),
                    None => break,
                },
                () = tick(&mut ticks), if written.is_ok() => written = self.end_interval(),
            }
            if written.is_err() {
                stop.stop();
            }
        }
        written.and_then(|()| self.end_interval()).map(|()| self.recording)
    }

    fn end_interval(&mut self) -> Result<()> {
        self.recording.series.as_mut().map_or(Ok(()), Series::end_interval)
    }

    fn add(&mut self, event: Event) {
        let Event { mut sample, detail } = event;
        if let (Err(failure), Some(detail)) = (sample.outcome, detail) {
            self.recording.examples.entry((sample.side, failure)).or_insert(detail);
        }
        if let Some(series) = &mut self.recording.series {
            series.add(&sample);
        }
        for name in [&mut sample.labels.model, &mut sample.labels.reason].into_iter().flatten() {
            match self.names.get(name) {
                Some(known) => *name = Arc::clone(known),
                None => drop(self.names.insert(Arc::clone(name))),
            }
        }
        self.recording.samples.push(sample);
    }
}

async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => pending().await,
    }
}

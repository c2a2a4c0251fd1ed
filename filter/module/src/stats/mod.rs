//! The router's metrics as Envoy stats with labels.
//!
//! The module adds counts up and reports them to Envoy once a second, because a call into Envoy costs more than an addition.
//! Envoy 1.38 accepts counts only within requests, so it gets each count at once.

mod counts;
mod definitions;
mod flusher;
mod thread;

use counts::Counts;
use definitions::Definitions;
use llm_router_routing::config::Config;
use llm_router_routing::exchange::Event;
use llm_router_routing::metrics::{self, Kind, Metric, Series};

pub(crate) use flusher::{Flushing, flush};

use crate::abi::{self, Buffer, ConfigIncrementCounter, ConfigPtr};
use crate::envoy::EnvoyFilter;

/// The stats of one configuration, for all workers.
#[derive(Debug)]
pub(crate) struct Stats {
    definitions: Definitions,
    counts: Counts,
    increment: Option<ConfigIncrementCounter>,
}

/// Values that Envoy must get at the end of the hook that measured them.
#[derive(Debug, Default)]
pub(crate) struct Measured(Vec<(Series, u64)>);

/// A counter, by the values of its labels. Unlike a [`Series`], it means the same in every configuration.
type Counter = (Metric, Vec<String>);

impl Stats {
    /// # Safety
    /// In `config_new` only, with the pointer that Envoy passed to it.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn define(config: ConfigPtr) -> Self {
        // SAFETY: as above.
        let definitions = unsafe { Definitions::new(config) };
        Self { definitions, counts: Counts::default(), increment: abi::config_increment_counter() }
    }

    /// Counts an event. Adds urgent values to `measured`.
    pub(crate) fn measure(&self, event: &Event<'_>, config: &Config, measured: &mut Measured) {
        metrics::measure(event, config, |series, value| {
            if series.metric.kind() == Kind::Counter && self.increment.is_some() {
                self.counts.add(series, value);
            } else {
                measured.0.push((series, value));
            }
        });
    }

    /// Reports urgent values to Envoy.
    pub(crate) fn record(&self, measured: Measured, config: &Config, envoy: &EnvoyFilter) {
        for (series, value) in measured.0 {
            let Some(id) = self.definitions.id(series.metric) else { continue };
            let labels = series.labels(config);
            let labels: Vec<_> = labels.iter().map(|(_, value)| Buffer::new(value.as_bytes())).collect();
            match series.metric.kind() {
                Kind::Counter => envoy.increment_counter(id, &labels, value),
                Kind::Histogram => envoy.record_histogram(id, &labels, value),
            }
        }
    }

    /// Whether there are counts since the last [`Stats::take`].
    fn is_dirty(&self) -> bool {
        self.counts.is_dirty()
    }

    /// Takes the counts since the last call.
    fn take(&self, config: &Config) -> Vec<(Counter, u64)> {
        let counter = |series: Series| {
            let labels = series.labels(config).into_iter().map(|(_, value)| value.into_owned());
            (series.metric, labels.collect())
        };
        self.counts.take().into_iter().map(|(series, by)| (counter(series), by)).collect()
    }

    /// Adds to a counter of Envoy's.
    ///
    /// # Safety
    /// `envoy` is this configuration's pointer, and Envoy has not destroyed it.
    #[allow(unsafe_code)]
    unsafe fn add(&self, envoy: ConfigPtr, (metric, labels): &Counter, by: u64) {
        let (Some(increment), Some(id)) = (self.increment, self.definitions.id(*metric)) else { return };
        let labels: Vec<_> = labels.iter().map(|value| Buffer::new(value.as_bytes())).collect();
        // SAFETY: as above; Envoy copies the labels.
        unsafe { increment(envoy, id, labels.as_ptr(), labels.len(), by) };
    }
}

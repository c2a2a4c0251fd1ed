//! The router's metrics as Envoy stats. The bootstraps' `stats_tags` turn the names' parts into Prometheus labels.

mod counters;

use std::cell::RefCell;
use std::time::Duration;

use counters::Counters;
use llm_router_routing::config::Config;
use llm_router_routing::exchange::Event;
use llm_router_routing::metrics::{self, BySeries, Kind, Series};
use proxy_wasm::types::MetricType;

use crate::host;

/// How often Envoy gets the counts. Prometheus scrapes less often.
pub(crate) const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// The stats of one worker; Envoy adds the workers' up.
#[derive(Default)]
pub(crate) struct Stats {
    counters: Counters,
    /// Envoy's ids of the histograms in use. It needs each value separately.
    histograms: RefCell<BySeries<u32>>,
}

impl Stats {
    /// Counts an event.
    pub(crate) fn record(&self, event: &Event<'_>, config: &Config) {
        metrics::measure(event, config, |series, value| match series.metric.kind() {
            Kind::Counter => self.counters.add(series, value, || name(series, config)),
            Kind::Histogram => self.record_value(series, value, || name(series, config)),
        });
    }

    /// Passes the counts since the last call to Envoy.
    pub(crate) fn flush(&self) {
        self.counters.flush();
    }

    fn record_value(&self, series: Series, value: u64, name: impl FnOnce() -> String) {
        let known = self.histograms.borrow().get(&series).copied();
        let Some(id) = known.or_else(|| host::define_stat(MetricType::Histogram, &name())) else { return };
        if known.is_none() {
            self.histograms.borrow_mut().insert(series, id);
        }
        host::record_stat(id, value);
    }
}

/// `llm_router.LABEL.VALUE.….METRIC`; of a counter with `_total`.
fn name(series: Series, config: &Config) -> String {
    let labels = series.labels(config);
    let labels: String = labels.iter().map(|(name, value)| format!("{name}.{value}.")).collect();
    let suffix = if series.metric.kind() == Kind::Counter { "_total" } else { "" };
    format!("llm_router.{labels}{}{suffix}", series.metric.name())
}

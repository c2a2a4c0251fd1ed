//! Records the events of a request: Envoy's stats, its filter state for access logs, and the debug log.

use llm_router_filter_common::debug_log;
use llm_router_filter_common::filter_state::{self, PREFIX};
use llm_router_routing::config::Config;
use llm_router_routing::exchange::{Event, EventSink};
use log::{Level, debug, log_enabled};

use crate::host;
use crate::stats::Stats;

/// Records events in one of Envoy's callbacks.
pub(crate) struct Recorder<'a> {
    pub(crate) config: &'a Config,
    pub(crate) stats: &'a Stats,
    pub(crate) sets_filter_state: bool,
}

impl EventSink for Recorder<'_> {
    fn record(&mut self, event: Event<'_>) {
        if log_enabled!(Level::Debug)
            && let Some(line) = debug_log::line(&event)
        {
            debug!("{line}");
        }
        self.stats.record(&event, self.config);
        if self.sets_filter_state {
            filter_state::fields(&event, |field, value| {
                host::set_filter_state(&format!("{PREFIX}{field}"), value)
            });
        }
    }
}

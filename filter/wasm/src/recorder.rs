//! Records the events of a request: Envoy's stats, its filter state for access logs, and the debug log.

use llm_router_filter_common::filter_state::{self, PREFIX};
use llm_router_routing::config::Config;
use llm_router_routing::exchange::{Event, EventSink};
use llm_router_routing::router::Step;
use log::debug;

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
        match event {
            Event::Routed(decision) => debug!("routed to {}: {}", decision.model.name, decision.reason),
            Event::Rejected(rejection) => debug!("rejected: {}", rejection.code()),
            Event::Step(Step::NoFailover { model, max_bytes }) => {
                debug!("no failover from {}: its edits change more than {max_bytes} bytes", model.name);
            }
            _ => {}
        }
        self.stats.record(&event, self.config);
        if self.sets_filter_state {
            filter_state::fields(&event, |field, value| {
                host::set_filter_state(&format!("{PREFIX}{field}"), value)
            });
        }
    }
}

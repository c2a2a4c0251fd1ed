//! Collects a request's events, and passes them to Envoy once the request's state is no longer borrowed.

use llm_router_filter_common::debug_log;
use llm_router_filter_common::filter_state::{self, PREFIX};
use llm_router_routing::exchange::{Event, EventSink};

use crate::abi::LogLevel;
use crate::envoy::EnvoyFilter;
use crate::gateway::Gateway;
use crate::log;
use crate::stats::Measured;

/// Collects the events of one callback.
pub(crate) struct Recorder<'a> {
    gateway: &'a Gateway,
    measured: Measured,
    filter_state: Vec<(String, String)>,
    messages: Vec<String>,
    sets_filter_state: bool,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(gateway: &'a Gateway) -> Self {
        Self {
            gateway,
            measured: Measured::default(),
            filter_state: Vec::new(),
            messages: Vec::new(),
            sets_filter_state: gateway.config().filter_state,
        }
    }

    /// For a request that is over: its filter state no longer changes.
    pub(crate) fn after_the_end(gateway: &'a Gateway) -> Self {
        Self { sets_filter_state: false, ..Self::new(gateway) }
    }

    /// Passes the collected events to Envoy.
    pub(crate) fn hand_over(self, envoy: &EnvoyFilter) {
        self.gateway.stats.record(self.measured, self.gateway.config(), envoy);
        for (name, value) in self.filter_state {
            envoy.set_filter_state(&name, &value);
        }
        for message in self.messages {
            log::write(LogLevel::Debug, &message);
        }
    }
}

impl EventSink for Recorder<'_> {
    fn record(&mut self, event: Event<'_>) {
        if self.gateway.logs_decisions {
            self.messages.extend(debug_log::line(&event));
        }
        self.gateway.stats.measure(&event, self.gateway.config(), &mut self.measured);
        if self.sets_filter_state {
            filter_state::fields(&event, |field, value| {
                self.filter_state.push((format!("{PREFIX}{field}"), value.to_owned()));
            });
        }
    }
}

//! Counters that are added up here and passed to Envoy at intervals: a call into Envoy costs more than an addition.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::mem;

use llm_router_routing::metrics::{BySeries, Series};
use proxy_wasm::types::MetricType;

use crate::host;

/// The counters in use. Dropping them passes pending counts to Envoy.
#[derive(Default)]
pub(super) struct Counters(RefCell<BySeries<Counter>>);

struct Counter {
    id: u32,
    /// The pending counts.
    pending: u64,
}

impl Counters {
    /// `name` is only called the first time a series is seen.
    pub(super) fn add(&self, series: Series, by: u64, name: impl FnOnce() -> String) {
        let mut counters = self.0.borrow_mut();
        let counter = match counters.entry(series) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let Some(id) = host::define_stat(MetricType::Counter, &name()) else { return };
                unknown.insert(Counter { id, pending: 0 })
            }
        };
        counter.pending = counter.pending.saturating_add(by);
    }

    /// Passes pending counts to Envoy.
    pub(super) fn flush(&self) {
        for counter in self.0.borrow_mut().values_mut().filter(|counter| counter.pending > 0) {
            host::increment_stat(counter.id, mem::take(&mut counter.pending));
        }
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        self.flush();
    }
}

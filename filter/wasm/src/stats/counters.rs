//! Counters that are added up here, and told to Envoy now and then: a call into Envoy costs more than an addition.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::mem;

use proxy_wasm::types::MetricType;

use super::define;
use crate::host;

/// The counters that were used, by what tells them apart. What Envoy was not told, it is told at their end.
pub(super) struct Counters<K>(RefCell<HashMap<K, Counter>>);

struct Counter {
    id: u32,
    /// What was counted since Envoy was told.
    untold: u64,
}

impl<K: Eq + Hash> Counters<K> {
    /// `name` is asked for the first time only.
    pub(super) fn add(&self, key: K, by: u64, name: impl FnOnce() -> String) {
        let mut counters = self.0.borrow_mut();
        let counter = match counters.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let Some(id) = define(MetricType::Counter, name) else { return };
                unknown.insert(Counter { id, untold: 0 })
            }
        };
        counter.untold = counter.untold.saturating_add(by);
    }
}

impl<K> Counters<K> {
    /// Tells Envoy what changed.
    pub(super) fn flush(&self) {
        for counter in self.0.borrow_mut().values_mut().filter(|counter| counter.untold > 0) {
            host::increment_stat(counter.id, mem::take(&mut counter.untold));
        }
    }
}

impl<K> Default for Counters<K> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<K> Drop for Counters<K> {
    fn drop(&mut self) {
        self.flush();
    }
}

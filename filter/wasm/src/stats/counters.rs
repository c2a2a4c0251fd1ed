//! Counters that are added up here and handed to Envoy now and then: a call into Envoy costs more than an addition.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::mem;

use proxy_wasm::types::MetricType;

use crate::host;

/// The counters that were used, by key. What Envoy does not have yet, it gets when they are dropped.
pub(super) struct Counters<K>(RefCell<HashMap<K, Counter>>);

struct Counter {
    id: u32,
    /// What Envoy does not have yet.
    pending: u64,
}

impl<K: Eq + Hash> Counters<K> {
    /// `name` is only called the first time a key is seen.
    pub(super) fn add(&self, key: K, by: u64, name: impl FnOnce() -> String) {
        let mut counters = self.0.borrow_mut();
        let counter = match counters.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let Some(id) = host::define_stat(MetricType::Counter, &name()) else { return };
                unknown.insert(Counter { id, pending: 0 })
            }
        };
        counter.pending = counter.pending.saturating_add(by);
    }
}

impl<K> Counters<K> {
    /// Hands Envoy what changed.
    pub(super) fn flush(&self) {
        for counter in self.0.borrow_mut().values_mut().filter(|counter| counter.pending > 0) {
            host::increment_stat(counter.id, mem::take(&mut counter.pending));
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

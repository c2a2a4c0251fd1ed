//! The counts of all workers until they are reported to Envoy.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use llm_router_routing::metrics::{BySeries, Series};

/// Parts with a lock each. A worker always uses the same one, so that workers do not wait for each other.
const SHARDS: usize = 16;

/// The counts. Label values come from the configuration, so the number of series is bounded.
#[derive(Debug, Default)]
pub(super) struct Counts {
    shards: [Mutex<BySeries<u64>>; SHARDS],
    is_dirty: AtomicBool,
}

impl Counts {
    pub(super) fn add(&self, series: Series, by: u64) {
        let Some(shard) = self.shards.get(own_shard()) else { return };
        let mut counts = lock(shard);
        let count = counts.entry(series).or_default();
        *count = count.saturating_add(by);
        drop(counts);
        // Written rarely, so that workers can share the cache line.
        if !self.is_dirty.load(Ordering::Relaxed) {
            self.is_dirty.store(true, Ordering::Release);
        }
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.is_dirty.load(Ordering::Acquire)
    }

    /// Takes all counts.
    pub(super) fn take(&self) -> BySeries<u64> {
        self.is_dirty.store(false, Ordering::Release);
        let mut all = BySeries::default();
        for shard in &self.shards {
            for (series, by) in mem::take(&mut *lock(shard)) {
                let count: &mut u64 = all.entry(series).or_default();
                *count = count.saturating_add(by);
            }
        }
        all
    }
}

/// A panic in another thread cannot leave the counts inconsistent.
fn lock(shard: &Mutex<BySeries<u64>>) -> MutexGuard<'_, BySeries<u64>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shard of this thread.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
    OWN.try_with(|own| *own).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use llm_router_routing::config::Config;
    use llm_router_routing::exchange::Event;
    use llm_router_routing::metrics::measure;
    use llm_router_routing::rejection::Rejection;
    use serde_json::json;

    use super::*;

    fn series(rejection: &Rejection) -> Series {
        let config = json!({
            "sidecar": {"cluster": "c"}, "default_policy": "p", "models": {"m": {"cluster": "c", "model": "m"}},
            "policies": {"p": {"classifier": "task", "routes": {}, "default": "m"}},
        });
        let config = Config::from_json(config.to_string().as_bytes()).unwrap();
        let mut found = Vec::new();
        measure(&Event::Rejected(rejection), &config, |series, _| found.push(series));
        found[0]
    }

    #[test]
    fn what_all_threads_counted_is_taken_once() {
        let (large, unavailable) =
            (series(&Rejection::body_too_large(1)), series(&Rejection::classifier_unavailable()));
        let counts = Counts::default();
        assert!(!counts.is_dirty());
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| (0..100).for_each(|_| counts.add(large, 2)));
                scope.spawn(|| counts.add(unavailable, 1));
            }
        });
        assert!(counts.is_dirty());
        assert_eq!(counts.take(), BySeries::from_iter([(large, 8000), (unavailable, 40)]));
        assert!(!counts.is_dirty());
        assert_eq!(counts.take(), BySeries::default());
    }
}

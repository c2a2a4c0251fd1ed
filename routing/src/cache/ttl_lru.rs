//! A bounded cache that many threads share.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;

use crate::digest::Digest;

/// The most recently used entries.
///
/// A large cache has several shards with a lock each, so that threads seldom wait for each other. Each shard drops
/// its least recently used entries. Locks are held for a look-up only.
#[derive(Debug)]
pub(super) struct TtlLru<T> {
    shards: Box<[Mutex<Shard<T>>]>,
}

type Shard<T> = LruCache<Digest, Entry<T>>;

#[derive(Debug)]
struct Entry<T> {
    value: T,
    put: Duration,
    /// When it was inserted or renewed.
    used: Duration,
}

const MAX_SHARDS: usize = 16;

/// Smaller shards would differ too much in how full they are.
const MIN_SHARD: usize = 128;

impl<T: Clone> TtlLru<T> {
    /// A cache with this maximum number of entries.
    pub(super) fn new(entries: NonZeroUsize) -> Self {
        let count = (entries.get() / MIN_SHARD).clamp(1, MAX_SHARDS);
        let (least, more) = (entries.get() / count, entries.get() % count);
        let sizes = (0..count).filter_map(|index| NonZeroUsize::new(least + usize::from(index < more)));
        Self { shards: sizes.map(|size| Mutex::new(LruCache::new(size))).collect() }
    }

    /// An entry that was inserted within the time.
    pub(super) fn get(&self, key: &Digest, ttl: Duration, now: Duration) -> Option<T> {
        let mut shard = self.shard(key)?;
        let entry = shard.get(key)?;
        (now.saturating_sub(entry.put) <= ttl).then(|| entry.value.clone())
    }

    /// An entry that was inserted or renewed within the time.
    pub(super) fn get_and_renew(&self, key: &Digest, ttl: Duration, now: Duration) -> Option<T> {
        let mut shard = self.shard(key)?;
        let entry = shard.get_mut(key)?;
        if now.saturating_sub(entry.used) > ttl {
            return None;
        }
        entry.used = now;
        Some(entry.value.clone())
    }

    pub(super) fn put(&self, key: Digest, value: T, now: Duration) {
        if let Some(mut shard) = self.shard(&key) {
            shard.put(key, Entry { value, put: now, used: now });
        }
    }

    /// The shard of a key. There is always at least one shard.
    fn shard(&self, key: &Digest) -> Option<MutexGuard<'_, Shard<T>>> {
        let count = u64::try_from(self.shards.len()).ok()?;
        let index = usize::try_from(key.number().checked_rem(count)?).ok()?;
        // A shard stays valid if another thread panics.
        Some(self.shards.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn cache(entries: usize) -> TtlLru<usize> {
        TtlLru::new(NonZeroUsize::new(entries).unwrap())
    }

    fn key(number: usize) -> Digest {
        Digest::of(&[number.to_string()])
    }

    fn len(cache: &TtlLru<usize>) -> usize {
        cache.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn all_shards_together_hold_what_is_configured() {
        for entries in [1, 2, 127, 255, 256, 1000, 2047, 2048, 3001] {
            let cache = cache(entries);
            for number in 0..entries * 10 {
                cache.put(key(number), number, NOW);
            }
            assert_eq!(len(&cache), entries);
            let shards = cache.shards.len();
            assert!((1..=MAX_SHARDS).contains(&shards) && (shards == 1 || entries / shards >= MIN_SHARD));
            assert_eq!(cache.get(&key(entries * 10 - 1), NOW, NOW), Some(entries * 10 - 1));
        }
    }

    #[test]
    fn what_was_used_last_stays() {
        let cache = cache(2048);
        for number in 0..20_000 {
            cache.put(key(number), number, NOW);
            assert_eq!(cache.get(&key(0), NOW, NOW), Some(0), "{number}");
        }
    }

    #[test]
    fn threads_share_the_entries() {
        let cache = cache(5000);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let cache = &cache;
                scope.spawn(move || {
                    for number in 0..500 {
                        cache.put(key(thread * 500 + number), thread, NOW);
                    }
                });
            }
        });
        assert_eq!(len(&cache), 4000);
        assert!((0..4000).all(|number| cache.get(&key(number), NOW, NOW) == Some(number / 500)));
    }
}

//! Which model made which response, for all workers and all configurations of this process: a client's next request may arrive at
//! another worker, or after a change of the policy.

use std::num::NonZeroUsize;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use llm_router_routing::cache::SharedResponses;
use llm_router_routing::digest::Digest;
use lru::LruCache;

/// Parts with a lock each, so that workers seldom wait for each other.
const SHARDS: usize = 16;
/// With about 100 bytes each, all entries together take 7 MB.
const ENTRIES_PER_SHARD: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

type Shard = Mutex<LruCache<Digest, String>>;

static SHARED: LazyLock<[Shard; SHARDS]> =
    LazyLock::new(|| std::array::from_fn(|_| Mutex::new(LruCache::new(ENTRIES_PER_SHARD))));

/// The responses that this process stores.
#[derive(Debug)]
pub(crate) struct ProcessResponses;

impl SharedResponses for ProcessResponses {
    fn get(&self, response: Digest) -> Option<String> {
        shard(response)?.get(&response).cloned()
    }

    fn put(&self, response: Digest, model: &str) {
        if let Some(mut shard) = shard(response) {
            shard.put(response, model.to_owned());
        }
    }
}

fn shard(response: Digest) -> Option<MutexGuard<'static, LruCache<Digest, String>>> {
    let index = response.number() as usize % SHARDS;
    // A panic in another thread cannot leave the cache inconsistent.
    Some(SHARED.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_finds_what_another_stored() {
        let ids: Vec<_> = (0..100).map(|id| Digest::of(&[format!("every thread {id}")])).collect();
        std::thread::scope(|scope| {
            for (id, response) in ids.iter().enumerate() {
                scope.spawn(move || ProcessResponses.put(*response, &format!("model-{id}")));
            }
        });
        for (id, response) in ids.iter().enumerate() {
            assert_eq!(ProcessResponses.get(*response), Some(format!("model-{id}")));
        }
        assert_eq!(ProcessResponses.get(Digest::of(&["another"])), None);
    }
}

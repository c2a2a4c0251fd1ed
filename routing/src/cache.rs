//! Bounded caches of what was decided before; each of Envoy's workers has its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;

use crate::classification::Classification;
use crate::config::{CacheConfig, Config, Model};
use crate::decision::Decision;
use crate::digest::Digest;
use crate::rejection::Rejection;
use crate::request::{Request, RequestHead};
use crate::router::{ClassifierResult, Pending, Plan, Router, Step, Trace};

/// A router with a cache of classifications and the models of conversations. It is shared by all requests of a worker, or
/// of a process; locks are held for a look-up only.
#[derive(Debug)]
pub struct CachingRouter {
    router: Router,
    classifications: Option<Mutex<TtlLru<Classification>>>,
    conversations: Option<Mutex<TtlLru<Arc<Model>>>>,
}

impl CachingRouter {
    /// A router for this configuration, with empty caches.
    pub fn new(config: impl Into<Arc<Config>>) -> Self {
        let router = Router::new(config);
        let config = router.config();
        let classifications = config.cache.map(TtlLru::new).map(Mutex::new);
        let stickiness = config.stickiness.as_ref();
        let conversations = stickiness.map(|stickiness| Mutex::new(TtlLru::new(stickiness.memory)));
        Self { router, classifications, conversations }
    }

    /// A router that caches nothing, whatever the configuration says: for dry runs.
    pub fn without_caches(config: impl Into<Arc<Config>>) -> Self {
        Self { router: Router::new(config), classifications: None, conversations: None }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        self.router.config()
    }

    /// Decides what needs no classifier, or what was classified before. `now` is any clock that goes forward.
    ///
    /// # Errors
    /// As [`Router::plan`] and [`Router::decide`].
    pub fn plan(
        &self,
        request: &Request<'_>,
        head: &RequestHead,
        now: Duration,
        trace: &mut Trace<'_>,
    ) -> Result<Plan, Rejection> {
        let pending = match self.router.plan(request, head, trace)? {
            Plan::Classify(pending) => pending,
            other => return Ok(other),
        };
        let kept = self.conversations.as_ref().and_then(|all| lock(all).get(&pending.conversation(), now));
        if let Some(model) = kept
            && let Some(decision) = pending.keep(&model)
        {
            trace(Step::Sticky(&model));
            self.keep(&pending, &decision, now);
            return Ok(Plan::Route(decision));
        }
        let cached = self.classifications.as_ref().and_then(|all| lock(all).get(&pending.cache_key(), now));
        match cached {
            Some(classification) => {
                let result = ClassifierResult::Cached(classification);
                let decision = self.router.decide(&pending, result, trace)?;
                self.keep(&pending, &decision, now);
                Ok(Plan::Route(decision))
            }
            None => Ok(Plan::Classify(pending)),
        }
    }

    /// Decides with the classifier's result, and caches both.
    ///
    /// # Errors
    /// As [`Router::decide`].
    pub fn decide(
        &self,
        pending: &Pending,
        result: ClassifierResult,
        now: Duration,
        trace: &mut Trace<'_>,
    ) -> Result<Decision, Rejection> {
        if let (ClassifierResult::Fresh(classification), Some(all)) = (&result, &self.classifications) {
            lock(all).put(pending.cache_key(), classification.clone(), now);
        }
        let answered = result != ClassifierResult::Unavailable;
        let decision = self.router.decide(pending, result, trace)?;
        // A conversation must not stay on the default because the classifier was away when it began.
        if answered {
            self.keep(pending, &decision, now);
        }
        Ok(decision)
    }

    fn keep(&self, pending: &Pending, decision: &Decision, now: Duration) {
        if let Some(all) = &self.conversations {
            lock(all).put(pending.conversation(), Arc::clone(&decision.model), now);
        }
    }
}

/// A panic in another thread leaves a cache whole.
fn lock<T>(cache: &Mutex<T>) -> MutexGuard<'_, T> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The most recently used entries, each until its time to live has passed.
#[derive(Debug)]
struct TtlLru<T> {
    entries: LruCache<Digest, (T, Duration)>,
    ttl: Duration,
}

impl<T: Clone> TtlLru<T> {
    fn new(config: CacheConfig) -> Self {
        Self { entries: LruCache::new(config.entries), ttl: config.ttl }
    }

    fn get(&mut self, key: &Digest, now: Duration) -> Option<T> {
        let (value, put) = self.entries.get(key)?;
        if now.saturating_sub(*put) > self.ttl {
            self.entries.pop(key);
            return None;
        }
        Some(value.clone())
    }

    fn put(&mut self, key: Digest, value: T, now: Duration) {
        self.entries.put(key, (value, now));
    }
}

#[cfg(test)]
mod tests;

//! Bounded memory of what was decided before; each of Envoy's workers has its own.

use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;

use crate::classification::Classification;
use crate::config::{self, Config, Model};
use crate::decision::Decision;
use crate::digest::Digest;
use crate::rejection::Rejection;
use crate::request::Request;
use crate::router::{Answer, Client, Pending, Plan, Router};

/// A router that remembers.
#[derive(Debug)]
pub struct CachingRouter {
    router: Router,
    classifications: Option<TtlLru<Classification>>,
    conversations: Option<TtlLru<Arc<Model>>>,
}

impl CachingRouter {
    /// A router for this configuration that remembers nothing yet.
    pub fn new(config: Config) -> Self {
        let classifications = config.cache.map(TtlLru::new);
        let conversations = config.stickiness.as_ref().map(|stickiness| TtlLru::new(stickiness.memory));
        Self { router: Router::new(config), classifications, conversations }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        self.router.config()
    }

    /// Decides what needs no classifier, or what it was asked before. `now` is any clock that goes forward.
    ///
    /// # Errors
    /// As [`Router::plan`] and [`Router::decide`].
    pub fn plan(
        &mut self,
        request: &Request<'_>,
        client: &Client<'_>,
        now: Duration,
    ) -> Result<Plan, Rejection> {
        let pending = match self.router.plan(request, client)? {
            Plan::Classify(pending) => pending,
            other => return Ok(other),
        };
        let kept = self.conversations.as_mut().and_then(|all| all.get(&pending.conversation(), now));
        if let Some(decision) = kept.and_then(|model| pending.keep(&model)) {
            self.keep(&pending, &decision, now);
            return Ok(Plan::Route(decision));
        }
        let remembered = self.classifications.as_mut().and_then(|all| all.get(&pending.question(), now));
        match remembered {
            Some(classification) => {
                let decision = self.router.decide(&pending, Answer::Remembered(classification))?;
                self.keep(&pending, &decision, now);
                Ok(Plan::Route(decision))
            }
            None => Ok(Plan::Classify(pending)),
        }
    }

    /// Decides with the classifier's answer, and remembers both.
    ///
    /// # Errors
    /// As [`Router::decide`].
    pub fn decide(
        &mut self,
        pending: &Pending,
        answer: Answer,
        now: Duration,
    ) -> Result<Decision, Rejection> {
        if let (Answer::Fresh(classification), Some(all)) = (&answer, &mut self.classifications) {
            all.put(pending.question(), classification.clone(), now);
        }
        let answered = answer != Answer::None;
        let decision = self.router.decide(pending, answer)?;
        // A conversation must not stay on the default because the classifier was away when it began.
        if answered {
            self.keep(pending, &decision, now);
        }
        Ok(decision)
    }

    fn keep(&mut self, pending: &Pending, decision: &Decision, now: Duration) {
        if let Some(all) = &mut self.conversations {
            all.put(pending.conversation(), Arc::clone(&decision.model), now);
        }
    }
}

/// The most recently used entries, each for a time.
#[derive(Debug)]
struct TtlLru<T> {
    entries: LruCache<Digest, (T, Duration)>,
    ttl: Duration,
}

impl<T: Clone> TtlLru<T> {
    fn new(memory: config::Memory) -> Self {
        Self { entries: LruCache::new(memory.entries), ttl: memory.ttl }
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

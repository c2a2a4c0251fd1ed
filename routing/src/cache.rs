//! Bounded caches of predictions, and of the models that made responses. They only save calls: decisions are
//! the same without them, except for responses whose state a provider stores.

mod ttl_lru;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use ttl_lru::TtlLru;

use crate::classification::Prediction;
use crate::config::{Classifier, Config, Model};
use crate::digest::Digest;
use crate::rejection::Rejection;
use crate::request::{Request, RequestHead};
use crate::router::{Known, Outcome, Pending, Progress, Router, Step, Trace, Wanted};

/// A router with a cache of predictions. It is shared by all requests of a worker, or of a process.
#[derive(Debug)]
pub struct CachingRouter {
    router: Router,
    predictions: Option<TtlLru<Prediction>>,
    /// How long predictions for a request's own message, and for earlier messages of its conversation, are valid.
    ttl: Option<Duration>,
    earlier_ttl: Option<Duration>,
    responses: Responses,
}

/// The next step for a request.
#[derive(Debug)]
pub enum Plan {
    /// The decision is made.
    Done(Outcome),
    /// Call the classifiers, then [`CachingRouter::decide`].
    Classify(Box<Pending>, Wanted),
}

impl CachingRouter {
    /// A router for this configuration, with empty caches.
    pub fn new(config: impl Into<Arc<Config>>) -> Self {
        Self::with_shared_responses(config, None)
    }

    /// A router with empty caches, and with a host's store of responses in addition to its own.
    pub fn with_shared_responses(
        config: impl Into<Arc<Config>>,
        shared: Option<Box<dyn SharedResponses>>,
    ) -> Self {
        let router = Router::new(config);
        let config = router.config();
        let stickiness = config.stickiness.as_ref().map(|stickiness| stickiness.memory);
        let entries = config.cache.into_iter().chain(stickiness).map(|memory| memory.entries).max();
        Self {
            predictions: entries.map(TtlLru::new),
            ttl: config.cache.map(|cache| cache.ttl),
            earlier_ttl: stickiness.map(|memory| memory.ttl).max(config.cache.map(|cache| cache.ttl)),
            responses: Responses::new(shared),
            router,
        }
    }

    /// A router without caches, regardless of the configuration: for dry runs.
    pub fn without_caches(config: impl Into<Arc<Config>>) -> Self {
        let router = Router::new(config);
        Self { router, predictions: None, ttl: None, earlier_ttl: None, responses: Responses::new(None) }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        self.router.config()
    }

    /// Decides on requests that need no predictions, or only cached ones. `now` is any monotonic clock.
    ///
    /// # Errors
    /// As [`Router::plan`] and [`Pending::progress`].
    pub fn plan(
        &self,
        request: &Request<'_>,
        head: &RequestHead,
        now: Duration,
        trace: &mut Trace<'_>,
    ) -> Result<Plan, Rejection> {
        let maker = |id: &str| self.responses.maker(id, self.config(), now);
        let pending = self.router.plan(request, head, &maker, trace)?;
        self.decide(pending, now, trace)
    }

    /// Records a classifier's prediction, and caches it.
    pub fn learn(
        &self,
        pending: &mut Pending,
        wanted: &Wanted,
        classifier: &Classifier,
        prediction: Option<Prediction>,
        now: Duration,
    ) {
        let Some(mut prediction) = prediction else {
            return pending.learn(wanted, classifier, Known::Unavailable);
        };
        let head = classifier.as_str();
        prediction.retain(|name| self.config().compared_labels(head).any(|label| label == name));
        if let Some(predictions) = &self.predictions
            && let Some(key) = key(pending, wanted, classifier)
        {
            predictions.put(key, prediction.clone(), now);
        }
        pending.learn(wanted, classifier, Known::Fresh(prediction));
    }

    /// Decides, if all missing predictions are cached.
    ///
    /// # Errors
    /// As [`Pending::progress`].
    pub fn decide(
        &self,
        mut pending: Pending,
        now: Duration,
        trace: &mut Trace<'_>,
    ) -> Result<Plan, Rejection> {
        loop {
            let mut wanted = match pending.progress(trace) {
                Progress::Done(outcome) => return outcome.map(Plan::Done),
                Progress::Wants(wanted) => wanted,
            };
            let (classifiers, for_comparison) =
                (std::mem::take(&mut wanted.classifiers), std::mem::take(&mut wanted.for_comparison));
            let mut missing = self.look_up(&mut pending, &wanted, classifiers, now);
            let not_compared = self.look_up(&mut pending, &wanted, for_comparison, now);
            let is_hit = missing.is_empty();
            if self.predictions.is_some() {
                trace(Step::Lookup { is_hit });
            }
            if !is_hit {
                missing.extend(not_compared.iter().cloned());
                wanted.classifiers = missing;
                wanted.for_comparison = not_compared;
                return Ok(Plan::Classify(Box::new(pending), wanted));
            }
        }
    }

    /// Records the cached predictions. Returns the classifiers of the others.
    fn look_up(
        &self,
        pending: &mut Pending,
        wanted: &Wanted,
        mut classifiers: Vec<Classifier>,
        now: Duration,
    ) -> Vec<Classifier> {
        classifiers.retain(|classifier| match self.cached(pending, wanted, classifier, now) {
            Some(prediction) => {
                pending.learn(wanted, classifier, Known::Cached(prediction));
                false
            }
            None => true,
        });
        classifiers
    }

    /// Records the model that made a response, unless another model is recorded for this id.
    pub fn remember_response(&self, id: &str, model: &Arc<Model>, now: Duration) {
        self.responses.remember(id, model, self.config(), now);
    }

    fn cached(
        &self,
        pending: &Pending,
        wanted: &Wanted,
        classifier: &Classifier,
        now: Duration,
    ) -> Option<Prediction> {
        let predictions = self.predictions.as_ref()?;
        let key = key(pending, wanted, classifier)?;
        match pending.is_last(wanted) {
            true => predictions.get(&key, self.ttl?, now),
            false => predictions.get_and_renew(&key, self.earlier_ttl?, now),
        }
    }
}

/// The classifier and the prompt that it reads: the same for the same prediction.
fn key(pending: &Pending, wanted: &Wanted, classifier: &Classifier) -> Option<Digest> {
    Some(pending.digest(wanted)?.with_name(classifier.identity()))
}

/// A host's store of the models that made responses, shared by hosts without common memory, such as the workers of a process.
pub trait SharedResponses: fmt::Debug + Send + Sync {
    /// The name of the model that made the response of this digest.
    fn get(&self, response: Digest) -> Option<String>;
    /// Records it. Old entries may be dropped.
    fn put(&self, response: Digest, model: &str);
}

/// The models that made responses, by the responses' ids.
#[derive(Debug)]
struct Responses {
    own: TtlLru<Arc<Model>>,
    shared: Option<Box<dyn SharedResponses>>,
}

impl Responses {
    /// An entry takes about 100 bytes.
    const ENTRIES: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
    /// Providers keep responses for 30 days.
    const TTL: Duration = Duration::from_secs(30 * 24 * 3600);

    fn new(shared: Option<Box<dyn SharedResponses>>) -> Self {
        Self { own: TtlLru::new(Self::ENTRIES), shared }
    }

    fn maker(&self, id: &str, config: &Config, now: Duration) -> Option<Arc<Model>> {
        let key = Digest::of(&[id]);
        self.own.get(&key, Self::TTL, now).or_else(|| self.shared_maker(key, config))
    }

    fn shared_maker(&self, key: Digest, config: &Config) -> Option<Arc<Model>> {
        config.model(&self.shared.as_ref()?.get(key)?).cloned()
    }

    /// Does not replace another model: an LLM that gives a response the id of another one's must not get the requests that
    /// continue it.
    fn remember(&self, id: &str, model: &Arc<Model>, config: &Config, now: Duration) {
        let key = Digest::of(&[id]);
        let known = [self.own.get(&key, Self::TTL, now), self.shared_maker(key, config)];
        if known.into_iter().flatten().any(|known| known.name != model.name) {
            return;
        }
        self.own.put(key, Arc::clone(model), now);
        if let Some(shared) = &self.shared {
            shared.put(key, model.name.as_str());
        }
    }
}

#[cfg(test)]
mod tests;

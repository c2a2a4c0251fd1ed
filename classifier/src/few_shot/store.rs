//! The embedded few-shot examples, by digest, and the task that embeds further ones.

use std::collections::HashMap;
use std::future::ready;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Instant;

use anyhow::{Result, anyhow};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use llm_router_routing::config::Examples;
use lru::LruCache;
use parking_lot::Mutex;

use super::Similarity;
use super::backlog::{Backlog, Embedded, Owner, TooManyExampleSets, Turn, Waiter};
use crate::log_limiter::LogLimiter;

/// The maximum number of callers' sets in memory. A set takes about 1.5 KB per example, up to 1.5 MB.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// The example sets of one model. The sets of this process's policies are kept as long as the policies; of the sets that
/// callers sent, the least recently used are dropped.
///
/// One task embeds pending sets, one text after the other.
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    embed: Embedder,
    state: Mutex<State>,
    failures: LogLimiter,
}

/// Embeds one text, with a lower priority than prompts.
type Embedder = Box<dyn Fn(String) -> BoxFuture<'static, Result<Vec<f32>>> + Send + Sync>;

struct State {
    policies: HashMap<String, PolicySet>,
    callers: LruCache<String, Arc<Similarity>>,
    backlog: Backlog,
    /// Whether the task that processes the backlog is running.
    embedding: bool,
}

/// An embedded set, and the policy's own copy of its examples, which lives as long as the policy.
struct PolicySet {
    policy: Weak<Examples>,
    similarity: Arc<Similarity>,
}

/// A set that is embedded, or will be. While somebody holds one of these, a caller's set comes before those
/// that nobody waits for.
#[derive(Debug, Clone)]
pub struct PendingEmbedding(Progress);

#[derive(Debug, Clone)]
enum Progress {
    Done(Arc<Similarity>),
    Pending(Waiter),
}

/// The examples could not be embedded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the few-shot examples could not be embedded")]
pub struct EmbeddingFailed;

impl PendingEmbedding {
    /// Waits until the set is embedded.
    ///
    /// # Errors
    /// If the embedding of a text failed. The store has then dropped the set.
    pub async fn done(self) -> Result<Arc<Similarity>, EmbeddingFailed> {
        match self.0 {
            Progress::Done(similarity) => Ok(similarity),
            Progress::Pending(mut waiter) => {
                let similarity = waiter.wait_for(Option::is_some).await.map_err(|_| EmbeddingFailed)?;
                similarity.clone().ok_or(EmbeddingFailed)
            }
        }
    }
}

impl Store {
    /// A store that embeds texts with `embed`, one at a time, by an encoder whose embeddings of unrelated texts have the
    /// cosine similarity `unrelated`.
    #[must_use]
    pub fn new(
        unrelated: f32,
        embed: impl Fn(String) -> BoxFuture<'static, Result<Vec<f32>>> + Send + Sync + 'static,
    ) -> Self {
        let state = State {
            policies: HashMap::new(),
            callers: LruCache::new(CAPACITY),
            backlog: Backlog::new(unrelated),
            embedding: false,
        };
        let (state, failures) = (Mutex::new(state), LogLimiter::default());
        Self { shared: Arc::new(Shared { embed: Box::new(embed), state, failures }) }
    }

    /// The set with this digest, if it is known.
    #[must_use]
    pub fn find(&self, digest: &str) -> Option<PendingEmbedding> {
        self.shared.state.lock().find(digest)
    }

    /// Embeds a caller's set, unless it is known. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// If too many callers' sets are pending.
    pub fn embed(&self, examples: &Arc<Examples>) -> Result<PendingEmbedding, TooManyExampleSets> {
        let mut state = self.shared.state.lock();
        if let Some(known) = state.find(examples.digest()) {
            return Ok(known);
        }
        let waiter = state.backlog.add(examples, Instant::now())?;
        self.start_embedding(&mut state);
        Ok(PendingEmbedding(Progress::Pending(waiter)))
    }

    /// Embeds a policy's own set, unless that is done already, and keeps it as long as the policy's `Arc` lives. It comes
    /// before callers' sets, and is embedded even if nobody waits. Must be called on a tokio runtime.
    #[must_use]
    pub fn embed_for_policy(&self, examples: &Arc<Examples>) -> PendingEmbedding {
        let mut state = self.shared.state.lock();
        if let Some(similarity) = state.adopt(examples) {
            return PendingEmbedding(Progress::Done(similarity));
        }
        let waiter = state.backlog.add_for_policy(examples, Instant::now());
        self.start_embedding(&mut state);
        PendingEmbedding(Progress::Pending(waiter))
    }

    fn start_embedding(&self, state: &mut State) {
        if !std::mem::replace(&mut state.embedding, true) {
            tokio::spawn(work_off(Arc::downgrade(&self.shared)));
        }
    }
}

/// Embeds one text after the other until the backlog is empty or the store is dropped.
async fn work_off(shared: Weak<Shared>) {
    while let Some((turn, embedding)) = shared.upgrade().and_then(|shared| shared.next()) {
        // The store may be dropped meanwhile.
        let embedding = AssertUnwindSafe(embedding).catch_unwind().await;
        let embedding = embedding.unwrap_or_else(|_| Err(anyhow!("embedding a text panicked")));
        let Some(shared) = shared.upgrade() else { return };
        shared.record(&turn, embedding);
    }
}

impl Shared {
    /// The next text, and its embedding to wait for; none if the backlog is empty.
    fn next(&self) -> Option<(Turn, BoxFuture<'static, Result<Vec<f32>>>)> {
        let mut state = self.state.lock();
        let turn = state.backlog.next(Instant::now());
        state.embedding = turn.is_some();
        drop(state);
        let turn = turn?;
        // A panic must not end the task: nothing would be embedded any more.
        let embedding = catch_unwind(AssertUnwindSafe(|| (self.embed)(turn.text.clone())));
        let embedding =
            embedding.unwrap_or_else(|_| Box::pin(ready(Err(anyhow!("embedding a text panicked")))));
        Some((turn, embedding))
    }

    fn record(&self, turn: &Turn, embedding: Result<Vec<f32>>) {
        let mut state = self.state.lock();
        match embedding {
            Ok(embedding) => {
                let Some(embedded) = state.backlog.record(turn, embedding) else { return };
                state.keep(&embedded);
                drop(state);
                tracing::info!(digest = embedded.examples.digest(), "few-shot examples embedded");
                embedded.send();
            }
            Err(error) => {
                let digest = state.backlog.fail(turn);
                drop(state);
                if let Some(suppressed) = self.failures.admit(Instant::now()) {
                    let error = format!("{error:#}");
                    tracing::warn!(digest, error, suppressed, "few-shot examples could not be embedded");
                }
            }
        }
    }
}

impl State {
    fn find(&mut self, digest: &str) -> Option<PendingEmbedding> {
        let policy = self.policies.get(digest).map(|set| &set.similarity);
        let embedded = policy.or_else(|| self.callers.get(digest)).cloned();
        let pending = || self.backlog.find(digest).map(Progress::Pending);
        embedded.map(Progress::Done).or_else(pending).map(PendingEmbedding)
    }

    /// A set that is embedded already. From now on, it belongs to the policy.
    fn adopt(&mut self, examples: &Arc<Examples>) -> Option<Arc<Similarity>> {
        let digest = examples.digest();
        if let Some(set) = self.policies.get_mut(digest) {
            if set.policy.strong_count() == 0 {
                set.policy = Arc::downgrade(examples);
            }
            return Some(Arc::clone(&set.similarity));
        }
        let similarity = self.callers.pop(digest)?;
        self.keep_for_policy(examples, &similarity);
        Some(similarity)
    }

    fn keep(&mut self, embedded: &Embedded) {
        let Embedded { examples, owner, similarity, .. } = embedded;
        match owner {
            Owner::Policy => self.keep_for_policy(examples, similarity),
            Owner::Caller => {
                self.callers.put(examples.digest().to_owned(), Arc::clone(similarity));
            }
        }
    }

    fn keep_for_policy(&mut self, examples: &Arc<Examples>, similarity: &Arc<Similarity>) {
        // Those of policies that were replaced are kept like callers' sets: another policy may still have the same ones.
        let replaced = self.policies.extract_if(|_, set| set.policy.strong_count() == 0);
        replaced.for_each(|(digest, set)| drop(self.callers.put(digest, set.similarity)));
        let set = PolicySet { policy: Arc::downgrade(examples), similarity: Arc::clone(similarity) };
        self.policies.insert(examples.digest().to_owned(), set);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use tokio::sync::{mpsc, oneshot};
    use tokio::time::timeout;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(20);

    fn routes(example: &str) -> BTreeMap<String, Vec<String>> {
        [("billing".to_owned(), vec![example.to_owned()])].into()
    }

    fn examples(example: &str) -> Arc<Examples> {
        Arc::new(Examples::new(routes(example)))
    }

    /// A text that the store wants embedded, and where the test sends its embedding.
    type Request = (String, oneshot::Sender<Result<Vec<f32>>>);

    /// A store whose texts the test embeds.
    fn gated() -> (Store, mpsc::UnboundedReceiver<Request>) {
        let (requests, requested) = mpsc::unbounded_channel();
        let store = Store::new(0.0, move |text| {
            let (reply, embedding) = oneshot::channel();
            requests.send((text, reply)).unwrap();
            async move { embedding.await? }.boxed()
        });
        (store, requested)
    }

    /// A store whose texts all have the same embedding.
    fn instant() -> Store {
        Store::new(0.0, |_| async { Ok(vec![1.0, 0.0]) }.boxed())
    }

    async fn requested(requests: &mut mpsc::UnboundedReceiver<Request>) -> Request {
        timeout(TIMEOUT, requests.recv()).await.unwrap().unwrap()
    }

    /// Embeds the next text, which must be this one.
    async fn embed(requests: &mut mpsc::UnboundedReceiver<Request>, expected: &str) {
        let (text, reply) = requested(requests).await;
        assert_eq!(text, expected);
        reply.send(Ok(vec![1.0, 0.0])).unwrap();
    }

    async fn done(pending: PendingEmbedding) -> Result<Arc<Similarity>, EmbeddingFailed> {
        timeout(TIMEOUT, pending.done()).await.unwrap()
    }

    #[tokio::test]
    async fn examples_are_embedded_once() {
        let (store, mut requests) = gated();
        assert!(store.find(examples("refund").digest()).is_none());
        let first = store.embed(&examples("refund")).unwrap();
        let second = store.find(examples("refund").digest()).unwrap();
        embed(&mut requests, "refund").await;
        let similarity = done(first).await.unwrap();
        assert_eq!(similarity.compare(&[1.0, 0.0]).top(), Some(("billing", 1.0)));
        for again in [second, store.embed(&examples("refund")).unwrap()] {
            assert!(Arc::ptr_eq(&done(again).await.unwrap(), &similarity));
        }
        assert!(requests.try_recv().is_err());
    }

    #[tokio::test]
    async fn one_text_is_embedded_at_a_time() {
        let (store, mut requests) = gated();
        let first = store.embed(&examples("first")).unwrap();
        let second = store.embed(&examples("second")).unwrap();
        let (text, reply) = requested(&mut requests).await;
        assert_eq!(text, "first");
        tokio::task::yield_now().await;
        assert!(requests.try_recv().is_err(), "the second waits for the first");
        reply.send(Ok(vec![1.0, 0.0])).unwrap();
        embed(&mut requests, "second").await;
        assert!(done(first).await.is_ok() && done(second).await.is_ok());
    }

    #[tokio::test]
    async fn a_failed_text_removes_only_its_own_set_which_can_be_embedded_again() {
        let (store, mut requests) = gated();
        let failing = store.embed(&examples("failing")).unwrap();
        let other = store.embed(&examples("other")).unwrap();
        requested(&mut requests).await.1.send(Err(anyhow!("no model"))).unwrap();
        assert_eq!(done(failing).await.unwrap_err(), EmbeddingFailed);
        assert!(store.find(examples("failing").digest()).is_none());
        embed(&mut requests, "other").await;
        assert!(done(other).await.is_ok());

        let again = store.embed(&examples("failing")).unwrap();
        embed(&mut requests, "failing").await;
        assert!(done(again).await.is_ok());
    }

    #[tokio::test]
    async fn a_panic_removes_only_its_own_set() {
        let store = Store::new(0.0, |text| {
            async move {
                assert_ne!(text, "failing", "as a broken embedder would");
                Ok(vec![1.0, 0.0])
            }
            .boxed()
        });
        assert!(done(store.embed(&examples("failing")).unwrap()).await.is_err());
        assert!(done(store.embed(&examples("other")).unwrap()).await.is_ok());
    }

    #[tokio::test]
    async fn embedding_goes_on_when_the_caller_leaves() {
        let (store, mut requests) = gated();
        drop(store.embed(&examples("refund")).unwrap());
        embed(&mut requests, "refund").await;
        let back = store.find(examples("refund").digest()).unwrap();
        assert!(done(back).await.is_ok());
    }

    #[tokio::test]
    async fn callers_are_rejected_while_too_many_wait_and_policies_are_not() {
        let (store, mut requests) = gated();
        let pending: Vec<_> =
            (0..).map_while(|number| store.embed(&examples(&format!("set {number}"))).ok()).collect();
        assert_eq!(store.embed(&examples("one more")).err(), Some(TooManyExampleSets));
        assert!(!pending.is_empty());

        // The policy's is the next, before all that came earlier.
        embed(&mut requests, "set 0").await;
        let own = store.embed_for_policy(&examples("own"));
        embed(&mut requests, "own").await;
        assert!(done(own).await.is_ok());
        assert!(store.embed(&examples("one more")).is_ok(), "there is room again");
    }

    #[tokio::test]
    async fn callers_sets_are_evicted_and_a_policys_is_not() {
        let (store, own) = (instant(), examples("own"));
        assert!(done(store.embed_for_policy(&own)).await.is_ok());
        for number in 0..=CAPACITY.get() {
            assert!(done(store.embed(&examples(&format!("set {number}"))).unwrap()).await.is_ok());
        }
        assert!(store.find(examples("set 0").digest()).is_none());
        assert!(store.find(examples("set 1").digest()).is_some());
        assert!(store.find(own.digest()).is_some());

        // Once its policy has been replaced, it is one of the others.
        let digest = own.digest().to_owned();
        drop(own);
        assert!(done(store.embed_for_policy(&examples("new"))).await.is_ok());
        assert!(store.find(&digest).is_some());
        for number in 100..100 + CAPACITY.get() {
            assert!(done(store.embed(&examples(&format!("set {number}"))).unwrap()).await.is_ok());
        }
        assert!(store.find(&digest).is_none());
    }

    #[tokio::test]
    async fn a_policy_adopts_what_a_caller_had_embedded() {
        let (store, mut requests) = gated();
        let pending = store.embed(&examples("refund")).unwrap();
        embed(&mut requests, "refund").await;
        let similarity = done(pending).await.unwrap();
        let own = done(store.embed_for_policy(&examples("refund"))).await.unwrap();
        assert!(Arc::ptr_eq(&own, &similarity));
        assert!(requests.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_dropped_store_embeds_nothing_more() {
        let (store, mut requests) = gated();
        let first = store.embed(&examples("first")).unwrap();
        let second = store.embed(&examples("second")).unwrap();
        let (_, reply) = requested(&mut requests).await;
        drop(store);
        reply.send(Ok(vec![1.0, 0.0])).unwrap();
        assert!(done(first).await.is_err() && done(second).await.is_err());
        assert!(timeout(TIMEOUT, requests.recv()).await.unwrap().is_none(), "the embedder is gone");
    }
}

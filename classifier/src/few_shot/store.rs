//! What has been learnt, by digest, and what is being learnt.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::{Result, bail};
use llm_router_routing::config::Examples;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Similarity;

/// The most sets of examples that are known at a time. One is about 1.5 KB an example, so up to 1.5 MB.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// Examples by their digest, for one model. Those asked for the longest ago are forgotten first.
#[derive(Debug)]
pub struct Store {
    known: Mutex<LruCache<String, PendingEmbedding>>,
}

/// Examples that are learnt already, or will be.
#[derive(Debug, Clone)]
pub struct PendingEmbedding(watch::Receiver<Option<Arc<Similarity>>>);

/// The examples could not be learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the examples could not be learnt")]
pub struct EmbeddingFailed;

impl PendingEmbedding {
    /// Waits until they are learnt.
    ///
    /// # Errors
    /// If an embedding failed; the store has forgotten them then.
    pub async fn done(mut self) -> Result<Arc<Similarity>, EmbeddingFailed> {
        let learnt = self.0.wait_for(Option::is_some).await.map_err(|_| EmbeddingFailed)?;
        learnt.clone().ok_or(EmbeddingFailed)
    }
}

impl Default for Store {
    fn default() -> Self {
        Self { known: Mutex::new(LruCache::new(CAPACITY)) }
    }
}

impl Store {
    /// The examples of this digest, if they were told.
    pub fn find(&self, digest: &str) -> Option<PendingEmbedding> {
        self.known.lock().get(digest).cloned()
    }

    /// Learns examples with this embedder, unless they are known. It goes on whoever waits for it, since the next request
    /// needs it too, and one text after the other, so that it takes no more than one worker from the requests.
    pub fn learn<E, F>(self: &Arc<Self>, examples: &Arc<Examples>, embed: E) -> PendingEmbedding
    where
        E: Fn(String) -> F + Send + 'static,
        F: Future<Output = Result<Vec<f32>>> + Send,
    {
        let (done, learning) = watch::channel(None);
        let learning = PendingEmbedding(learning);
        {
            let mut known = self.known.lock();
            if let Some(known) = known.get(examples.digest()) {
                return known.clone();
            }
            known.put(examples.digest().to_owned(), learning.clone());
        }
        let (store, examples) = (Arc::clone(self), Arc::clone(examples));
        tokio::spawn(async move {
            let digest = examples.digest();
            match embed_all(examples.routes(), embed).await {
                Ok(likeness) => {
                    tracing::info!(digest, "examples learnt");
                    done.send_replace(Some(Arc::new(likeness)));
                }
                Err(error) => {
                    tracing::warn!(digest, error = format!("{error:#}"), "examples not learnt");
                    store.known.lock().pop(digest);
                }
            }
        });
        learning
    }
}

async fn embed_all<E, F>(routes: &BTreeMap<String, Vec<String>>, embed: E) -> Result<Similarity>
where
    E: Fn(String) -> F,
    F: Future<Output = Result<Vec<f32>>>,
{
    let mut labels = Vec::with_capacity(routes.len());
    for (label, examples) in routes {
        let mut embeddings = Vec::with_capacity(examples.len());
        for example in examples {
            embeddings.push(embed(example.clone()).await?);
        }
        labels.push((label.clone(), embeddings));
    }
    Ok(Similarity::new(labels))
}

/// Checks examples that a caller sent.
///
/// # Errors
/// If there are none or too many, or one is too long.
pub fn check(routes: &BTreeMap<String, Vec<String>>) -> Result<()> {
    let texts = || routes.values().flatten();
    let count = texts().count();
    if count == 0 || count > Examples::MAX || routes.values().any(Vec::is_empty) {
        bail!("there must be 1 to {} examples, and one for each label; there are {count}", Examples::MAX);
    }
    if texts().any(|text| text.len() > Examples::MAX_LENGTH) {
        bail!("an example is longer than {} bytes", Examples::MAX_LENGTH);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn routes(example: &str) -> BTreeMap<String, Vec<String>> {
        [("billing".to_owned(), vec![example.to_owned()])].into()
    }

    fn examples() -> Arc<Examples> {
        Arc::new(Examples::new(routes("refund")))
    }

    fn find(store: &Store) -> Option<PendingEmbedding> {
        store.find(examples().digest())
    }

    #[tokio::test]
    async fn examples_are_learnt_once() {
        let (store, embedded) = (Arc::new(Store::default()), Arc::new(AtomicUsize::new(0)));
        assert!(find(&store).is_none());
        let mut learnt = Vec::new();
        for _ in 0..3 {
            let count = Arc::clone(&embedded);
            let learning = store.learn(&examples(), move |text| {
                assert_eq!(text, "refund");
                count.fetch_add(1, Ordering::Relaxed);
                async { Ok(vec![1.0, 0.0]) }
            });
            learnt.push(learning.done().await.unwrap());
        }
        assert_eq!(embedded.load(Ordering::Relaxed), 1);
        assert_eq!(learnt[0].of(&[1.0, 0.0]).top(), Some(("billing", 1.0)));
        assert_eq!(*find(&store).unwrap().done().await.unwrap(), *learnt[2]);
    }

    #[tokio::test]
    async fn examples_that_fail_can_be_learnt_again() {
        let store = Arc::new(Store::default());
        let failing = store.learn(&examples(), |_| async { bail!("no model") });
        assert_eq!(failing.done().await.unwrap_err(), EmbeddingFailed);
        // The task forgets them before it ends, which is what the waiter saw.
        assert!(find(&store).is_none());
        assert!(store.learn(&examples(), |_| async { Ok(vec![1.0]) }).done().await.is_ok());
    }

    #[tokio::test]
    async fn learning_goes_on_when_nobody_waits() {
        let store = Arc::new(Store::default());
        let (go, gate) = tokio::sync::oneshot::channel::<()>();
        let gate = Arc::new(tokio::sync::Mutex::new(Some(gate)));
        let learning = store.learn(&examples(), move |_| {
            let gate = Arc::clone(&gate);
            async move {
                if let Some(gate) = gate.lock().await.take() {
                    gate.await?;
                }
                Ok(vec![1.0])
            }
        });
        drop(learning);
        go.send(()).unwrap();
        assert!(find(&store).unwrap().done().await.is_ok());
    }

    #[test]
    fn what_callers_send_is_bounded() {
        assert!(check(&routes("refund")).is_ok());
        assert!(check(&BTreeMap::new()).is_err());
        assert!(check(&[("a".to_owned(), vec![])].into()).is_err());
        assert!(check(&routes(&"x".repeat(1025))).is_err());
        assert!(check(&[("a".to_owned(), vec!["x".to_owned(); 1001])].into()).is_err());
    }
}

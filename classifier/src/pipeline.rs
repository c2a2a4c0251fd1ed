//! The path of one text: tokenizer, engine, heads; or its similarity to few-shot examples.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use futures_util::FutureExt;
use llm_router_routing::config::Examples;

use crate::engine::{BackendFactory, Engine, EngineError, EngineOptions};
use crate::few_shot::{PendingEmbedding, Store, TooManyExampleSets};
use crate::metrics::Metrics;
use crate::model::prediction::{Outputs, Prediction};
use crate::model::tokenizer::{Prompt, Tokenizer};
use crate::steps::StepObserver;

/// A model whose engine runs. Clones share everything.
#[derive(Clone)]
pub struct Pipeline {
    tokenizer: Arc<Tokenizer>,
    engine: Arc<Engine>,
    heads: Arc<[String]>,
    examples: Arc<Store>,
    notes: Arc<BTreeMap<String, String>>,
    in_background: bool,
}

impl Pipeline {
    /// Starts an engine with one worker for each backend, for a model with this tokenizer and these heads.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(
        tokenizer: Arc<Tokenizer>,
        backends: Vec<impl BackendFactory>,
        heads: Arc<[String]>,
        options: EngineOptions,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let engine = Arc::new(Engine::start(&tokenizer, backends, options, metrics)?);
        let (embedder, texts) = (Arc::clone(&engine), Arc::clone(&tokenizer));
        let examples = Store::new(tokenizer.unrelated_similarity(), move |text| {
            let (engine, excerpt) = (Arc::clone(&embedder), texts.excerpt(text.as_str()));
            async move {
                let prediction = engine.classify_in_background(excerpt, Outputs::Embedding).await?;
                prediction.embedding.context("the model does not output embeddings")
            }
            .boxed()
        });
        let (examples, notes) = (Arc::new(examples), Arc::default());
        Ok(Self { tokenizer, engine, heads, examples, notes, in_background: false })
    }

    /// The pipeline of a model with these notes, by the names of its heads.
    #[must_use]
    pub fn with_notes(self, notes: BTreeMap<String, String>) -> Self {
        Self { notes: Arc::new(notes), ..self }
    }

    /// The same pipeline for background prompts. They occupy no slot of the queue, and are classified when no
    /// other prompt waits, and occasionally under load. Callers must bound how many such prompts they submit.
    #[must_use]
    pub fn in_background(self) -> Self {
        Self { in_background: true, ..self }
    }

    /// The note for users of a head.
    #[must_use]
    pub fn note(&self, head: &str) -> Option<&str> {
        self.notes.get(head).map(String::as_str)
    }

    /// The names of the model's heads.
    #[must_use]
    pub fn heads(&self) -> &[String] {
        &self.heads
    }

    /// The few-shot examples that it has embedded.
    #[must_use]
    pub fn examples(&self) -> &Store {
        &self.examples
    }

    /// How many tokens the model reads of a text without its context. Blocks while it tokenizes.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn count_tokens(&self, text: &str) -> anyhow::Result<usize> {
        Ok(self.tokenizer.tokenize(text)?.ids().len())
    }

    /// The maximum number of tokens that the model reads of a text and its context.
    pub(crate) fn max_tokens(&self) -> usize {
        self.tokenizer.max_tokens_with_context()
    }

    /// Classifies a prompt, unless the deadline passes first. `steps` receives the times of its steps.
    ///
    /// # Errors
    /// At once if too many prompts wait or the engine is shut down; later if the tokenizer or the backend fails, or the
    /// deadline passes.
    pub async fn classify(
        &self,
        prompt: impl Into<Prompt<'_>>,
        outputs: Outputs,
        deadline: Option<Instant>,
        steps: Option<Arc<dyn StepObserver>>,
    ) -> Result<Prediction, EngineError> {
        let excerpt = self.tokenizer.excerpt(prompt);
        if !self.in_background {
            return self.engine.classify(excerpt, outputs, deadline, steps).await;
        }
        let classified = self.engine.classify_in_background(excerpt, outputs);
        match deadline {
            Some(deadline) => {
                let classified = tokio::time::timeout_at(deadline.into(), classified).await;
                classified.unwrap_or(Err(EngineError::DeadlineExceeded))
            }
            None => classified.await,
        }
    }

    /// Embeds few-shot examples that a caller sent, unless that is done already. Prompts and the examples of policies have
    /// priority.
    ///
    /// # Errors
    /// If too many callers' examples wait to be embedded.
    pub fn embed_examples(&self, examples: &Arc<Examples>) -> Result<PendingEmbedding, TooManyExampleSets> {
        self.examples.embed(examples)
    }

    /// Embeds the few-shot examples of a policy, unless that is done already, and keeps them as long as the policy.
    #[must_use]
    pub fn embed_policy_examples(&self, examples: &Arc<Examples>) -> PendingEmbedding {
        self.examples.embed_for_policy(examples)
    }

    /// Whether there are threads that can classify a text. Once false, it stays false.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.engine.is_healthy()
    }

    /// The number of worker threads that have not died.
    #[must_use]
    pub fn workers_alive(&self) -> usize {
        self.engine.workers_alive()
    }

    /// Accepts no more texts, and waits until those in the queue have their predictions. Blocks.
    pub fn shut_down(&self) {
        self.engine.shut_down();
    }
}

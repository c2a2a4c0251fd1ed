//! The way of one text: tokenizer, engine, heads; or its similarity to few-shot examples.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use llm_router_routing::config::Examples;

use crate::engine::{Engine, EngineError};
use crate::few_shot::{PendingEmbedding, Store};
use crate::metrics::Metrics;
use crate::model::prediction::{Outputs, Prediction};
use crate::model::tokenizer::Tokenizer;
use crate::steps::{Step, StepObserver};

/// A model whose engine runs. Clones share everything.
#[derive(Clone)]
pub struct Pipeline {
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) heads: Arc<[String]>,
    pub(crate) examples: Arc<Store>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Pipeline {
    /// A pipeline of a tokenizer and an engine for it, with these heads.
    #[must_use]
    pub fn new(
        tokenizer: Arc<Tokenizer>,
        engine: Engine,
        heads: Arc<[String]>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { tokenizer, engine: Arc::new(engine), heads, examples: Arc::default(), metrics }
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

    /// How many tokens the model reads of a text.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn count_tokens(&self, text: &str) -> anyhow::Result<usize> {
        Ok(self.tokenizer.tokenize(text)?.ids().len())
    }

    /// Classifies a text, unless the deadline passes first. `steps` receives the times of its steps.
    ///
    /// # Errors
    /// At once if the queue is full or the engine is shut down; later if the tokenizer or the backend fails, or the
    /// deadline passes.
    pub async fn classify(
        &self,
        text: &str,
        want: Outputs,
        deadline: Option<Instant>,
        steps: Option<Arc<dyn StepObserver>>,
    ) -> Result<Prediction, EngineError> {
        let answer = self.tokenize_and_classify(text, want, deadline, steps).await;
        if let Err(error @ EngineError::Failed(_)) = &answer {
            tracing::error!(%error);
        }
        answer
    }

    async fn tokenize_and_classify(
        &self,
        text: &str,
        want: Outputs,
        deadline: Option<Instant>,
        steps: Option<Arc<dyn StepObserver>>,
    ) -> Result<Prediction, EngineError> {
        let start = Instant::now();
        let tokens = self.tokenizer.tokenize(text).map_err(|error| EngineError::Failed(Arc::new(error)))?;
        let end = Instant::now();
        self.metrics.tokenize_seconds.observe((end - start).as_secs_f64());
        if let Some(steps) = &steps {
            steps.finished(Step::Tokenize, start, end);
        }
        self.engine.classify(tokens, want, deadline, steps).await
    }

    /// Embeds few-shot examples, unless that is done already.
    #[must_use]
    pub fn learn(&self, examples: &Arc<Examples>) -> PendingEmbedding {
        let pipeline = self.clone();
        self.examples.learn(examples, move |text| {
            let pipeline = pipeline.clone();
            async move { pipeline.embed(&text).await }
        })
    }

    /// The embedding of an example. It waits for room in the queue: requests come first.
    async fn embed(&self, text: &str) -> anyhow::Result<Vec<f32>> {
        const RETRY: Duration = Duration::from_millis(20);
        let tokens = self.tokenizer.tokenize(text)?;
        loop {
            match self.engine.classify(tokens.clone(), Outputs::Embedding, None, None).await {
                Ok(answer) => return answer.embedding.context("the model gives no embeddings"),
                Err(EngineError::Overloaded) => tokio::time::sleep(RETRY).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Accepts no more texts, and waits until those in the queue have their predictions. Blocks.
    pub fn shut_down(&self) {
        self.engine.shut_down();
    }
}

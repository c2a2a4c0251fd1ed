//! Loads model and policy, at the start and again when they have changed.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use llm_router_routing::config::Classifier;
use tch::Device;

use super::{EngineArgs, policy_file};
use crate::commands::cores;
use crate::device::Compute;
use crate::engine::{Batching, Engine, Recorded};
use crate::ext_proc::{PolicyRouter, Service};
use crate::model::Model;
use crate::model::scores::Want;
use crate::model::tokenizer::Tokenizer;
use crate::telemetry::metrics::Metrics;

/// What is loaded, and how it is run.
pub(crate) struct Loader {
    model: PathBuf,
    compute: Compute,
    policy: Option<PathBuf>,
    workers: usize,
    batching: Batching,
    queue: usize,
    metrics: Arc<Metrics>,
}

/// A model that is ready: its engine runs and is warm.
struct Loaded {
    tokenizer: Arc<Tokenizer>,
    engine: Arc<Engine>,
    heads: Arc<[String]>,
}

impl Loader {
    /// Finds the device.
    pub(crate) fn new(args: &EngineArgs, policy: Option<PathBuf>, metrics: Arc<Metrics>) -> Result<Self> {
        let compute = args.compute()?;
        let device = compute.device;
        Ok(Self {
            model: args.model.model.clone(),
            compute,
            policy,
            workers: args.workers.map_or(if device == Device::Cpu { cores() } else { 1 }, usize::from),
            batching: Batching::on(device, args.batch_tokens),
            queue: args.queue,
            metrics,
        })
    }

    /// Everything, from files to a warm engine.
    pub(crate) async fn load(self: &Arc<Self>) -> Result<Service> {
        let router = self.router()?;
        let Loaded { tokenizer, engine, heads } = self.classifier().await?;
        let (examples, metrics) = (Arc::default(), self.metrics.clone());
        prepared(Service { tokenizer, engine, heads, examples, metrics, router }).await
    }

    /// The service with the policy that is now in its file.
    pub(super) async fn with_policy(&self, now: &Service) -> Result<Service> {
        prepared(Service { router: self.router()?, ..now.clone() }).await
    }

    /// The service with the model that is now in its folder.
    pub(super) async fn with_model(self: &Arc<Self>, now: &Service) -> Result<Service> {
        let Loaded { tokenizer, engine, heads } = self.classifier().await?;
        // Another model has other embeddings.
        prepared(Service { tokenizer, engine, heads, examples: Arc::default(), ..now.clone() }).await
    }

    fn router(&self) -> Result<Option<Arc<PolicyRouter>>> {
        let policy = self.policy.as_deref().map(policy_file::read).transpose()?;
        Ok(policy.map(|policy| Arc::new(PolicyRouter::new(policy))))
    }

    async fn classifier(self: &Arc<Self>) -> Result<Loaded> {
        let loader = self.clone();
        let classifier = tokio::task::spawn_blocking(move || loader.start()).await??;
        warm(&classifier).await?;
        Ok(classifier)
    }

    fn start(&self) -> Result<Loaded> {
        let (model, tokenizer) = Model::load(&self.model, self.compute)?;
        let heads: Arc<[_]> = model.heads().map(ToString::to_string).collect();
        let Self { compute, workers, batching, queue, .. } = self;
        let folder = self.model.display();
        tracing::info!(model = %folder, ?heads, ?compute, workers, ?batching, queue, "model loaded");
        let metrics = self.metrics.clone();
        let engine = if compute.device.is_cuda() {
            let workers = (0..*workers).map(|_| Recorded::on_cuda(model.clone())).collect();
            Engine::start(workers, *queue, *batching, metrics)
        } else {
            Engine::start(vec![model; *workers], *queue, *batching, metrics)
        }?;
        Ok(Loaded { tokenizer: Arc::new(tokenizer), engine: Arc::new(engine), heads })
    }
}

/// Classifies a short and the longest text, so that no request pays for what libtorch does at first use, and a model
/// that cannot be computed with is refused.
async fn warm(classifier: &Loaded) -> Result<()> {
    for words in [8, classifier.tokenizer.max_tokens()] {
        let text = classifier.tokenizer.tokenize(&"warm ".repeat(words))?;
        classifier.engine.classify(text, Want::ScoresAndEmbedding, None).await?;
    }
    Ok(())
}

/// The service, once its policy can be carried out: what its policies go by is there, or a warning says what is not.
async fn prepared(service: Service) -> Result<Service> {
    for policy in service.router.iter().flat_map(|router| router.config().policies()) {
        match &policy.classifier {
            Classifier::Examples(examples) => {
                service.learn(examples).done().await.with_context(|| format!("policy {}", policy.name))?;
            }
            // No error, since the policy says what to do without its classifier; but hardly what was meant.
            Classifier::Head(classifier) if !service.heads.contains(classifier) => {
                tracing::warn!(policy = policy.name.as_str(), classifier, "the model has no such classifier");
            }
            Classifier::Head(_) => {}
        }
    }
    Ok(service)
}

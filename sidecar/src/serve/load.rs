//! Loads model and policy, at the start and again when they have changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use llm_router_classifier::load::Loader;
use llm_router_routing::config::{Classifier, Config};
use llm_router_routing::documents;

use crate::ext_proc::{PolicyRouter, Service};
use crate::telemetry::metrics::Metrics;

/// What is loaded.
pub(super) struct ServiceLoader {
    pub(super) model: Loader,
    pub(super) policy: Option<PathBuf>,
    pub(super) metrics: Arc<Metrics>,
}

impl ServiceLoader {
    /// Everything, from files to a warm engine.
    pub(super) async fn load(&self) -> Result<Service> {
        let router = self.router()?;
        let (pipeline, metrics) = (self.model.load().await?, self.metrics.clone());
        prepared(Service { pipeline, metrics, router }).await
    }

    /// The service with the policy that is now in its file.
    pub(super) async fn with_policy(&self, now: &Service) -> Result<Service> {
        prepared(Service { router: self.router()?, ..now.clone() }).await
    }

    /// The service with the model that is now in its folder.
    pub(super) async fn with_model(&self, now: &Service) -> Result<Service> {
        // Another model has other embeddings.
        prepared(Service { pipeline: self.model.load().await?, ..now.clone() }).await
    }

    fn router(&self) -> Result<Option<Arc<PolicyRouter>>> {
        let policy = self.policy.as_deref().map(read_policy).transpose()?;
        Ok(policy.map(|policy| Arc::new(PolicyRouter::new(policy))))
    }
}

/// The only policy in a file.
fn read_policy(path: &Path) -> Result<Config> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    documents::parse_one(&text).with_context(|| path.display().to_string())
}

/// The service, once its policy can be carried out: what its policies go by is there, or a warning says what is not.
async fn prepared(service: Service) -> Result<Service> {
    for policy in service.router.iter().flat_map(|router| router.config().policies()) {
        match &policy.classifier {
            Classifier::Examples(examples) => {
                let pending = service.pipeline.learn(examples);
                pending.done().await.with_context(|| format!("policy {}", policy.name))?;
            }
            // No error, since the policy says what to do without its classifier; but hardly what was meant.
            Classifier::Head(classifier) if !service.pipeline.heads().contains(classifier) => {
                tracing::warn!(policy = policy.name.as_str(), classifier, "the model has no such classifier");
            }
            Classifier::Head(_) => {}
        }
    }
    Ok(service)
}

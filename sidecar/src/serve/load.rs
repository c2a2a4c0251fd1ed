//! Loads the model and the policy, at the start and when they have changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use llm_router_classifier::load::Loader;
use llm_router_routing::config::{Classifier, Config};
use llm_router_routing::documents;
use tokio::task::spawn_blocking;

use crate::capture::Capture;
use crate::ext_proc::{AssumedBodyMode, PolicyRouter, Service};
use crate::telemetry::metrics::Metrics;

/// Loads services from the files that the options name.
pub(super) struct ServiceLoader {
    pub(super) model: Loader,
    pub(super) policy: Option<PathBuf>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) capture: Option<Capture>,
    pub(super) assumed_body_mode: AssumedBodyMode,
    pub(super) body_timeout: Duration,
}

impl ServiceLoader {
    /// The service, with a warm engine.
    pub(super) async fn load(&self) -> Result<Service> {
        let router = self.router().await?;
        let pipeline = self.model.load().await?;
        let (metrics, capture) = (self.metrics.clone(), self.capture.clone());
        let Self { assumed_body_mode, body_timeout, .. } = *self;
        prepared(Service { pipeline, metrics, router, capture, assumed_body_mode, body_timeout }).await
    }

    /// The service with the policy that its file has now.
    pub(super) async fn with_policy(&self, now: &Service) -> Result<Service> {
        prepared(Service { router: self.router().await?, ..now.clone() }).await
    }

    /// The service with the model that its folder has now.
    pub(super) async fn with_model(&self, now: &Service) -> Result<Service> {
        prepared(Service { pipeline: self.model.load().await?, ..now.clone() }).await
    }

    async fn router(&self) -> Result<Option<Arc<PolicyRouter>>> {
        let Some(path) = self.policy.clone() else { return Ok(None) };
        // The file may be on a network volume, and compiling the policy's expressions takes a while.
        let router = spawn_blocking(move || anyhow::Ok(PolicyRouter::new(read_policy(&path)?))).await??;
        Ok(Some(Arc::new(router)))
    }
}

/// The policy in a file that has exactly one.
fn read_policy(path: &Path) -> Result<Config> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    documents::parse_one(&text).with_context(|| path.display().to_string())
}

/// The service, once its policies' examples are embedded. A classifier that the model does not have is a warning.
async fn prepared(service: Service) -> Result<Service> {
    for policy in service.router.iter().flat_map(|router| router.config().policies()) {
        match &policy.classifier {
            Classifier::Examples(examples) => {
                let pending = service.pipeline.embed_policy_examples(examples);
                pending.done().await.with_context(|| format!("policy {}", policy.name))?;
            }
            // Not an error, because the policy defines what happens without its classifier. But it is
            // probably a mistake.
            Classifier::Head(classifier) if !service.pipeline.heads().contains(classifier) => {
                tracing::warn!(policy = policy.name.as_str(), classifier, "the model has no such classifier");
            }
            Classifier::Head(_) => {}
        }
    }
    for rule in service.router.iter().flat_map(|router| &router.config().rules) {
        for condition in rule.when.heads() {
            if !service.pipeline.heads().contains(&condition.head) {
                let (rule, classifier) = (rule.name.as_str(), condition.head.as_str());
                tracing::warn!(
                    rule,
                    classifier,
                    "the model has no such classifier: the condition never matches"
                );
            }
        }
    }
    Ok(service)
}

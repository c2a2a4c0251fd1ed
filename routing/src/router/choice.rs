//! Combines all ways in which a client can select a policy or a model.

use std::sync::Arc;

use super::Router;
use super::step::{Step, Trace};
use crate::config::{Model, Name, OnUnknownModel, Policy};
use crate::decision::Reason;
use crate::headers;
use crate::rejection::Rejection;
use crate::request::{Endpoint, METADATA_FIELD, ModelChoice, Request, RequestHead};

/// How the model is chosen.
pub(super) enum Choice {
    Model(Arc<Model>, Reason),
    /// A class of the policy, which selects that class's model.
    Class {
        policy: Arc<Policy>,
        model: Arc<Model>,
        class: String,
    },
    /// The policy that the client named.
    Policy {
        policy: Arc<Policy>,
        threshold: Option<f32>,
    },
    /// The client named none: the rules decide, then the default policy.
    Default {
        threshold: Option<f32>,
    },
    Passthrough,
}

impl Router {
    /// The selection with the highest precedence: the body's metadata, then the header, then the path's deployment or the body's `model`.
    pub(super) fn choose(
        &self,
        request: &Request<'_>,
        head: &RequestHead,
        trace: &mut Trace<'_>,
    ) -> Result<Choice, Rejection> {
        let directives = request.directives.as_ref();
        let in_metadata = directives.and_then(|directives| directives.policy.as_deref()).and_then(given);
        // A header that is not valid UTF-8 names no policy.
        let in_header = head.headers().get(headers::POLICY).map(String::from_utf8_lossy);
        let in_header = in_header.as_deref().and_then(given);
        let named = match (in_metadata, in_header) {
            (Some(name), _) => Some(self.named_policy(name, METADATA_FIELD, trace)?),
            (None, Some(name)) => Some(self.named_policy(name, headers::POLICY, trace)?),
            (None, None) => None,
        };
        let threshold = directives.and_then(|directives| directives.threshold);
        let model = head.deployment().or(request.model.as_deref());
        let choice = match (directives.map(|directives| &directives.strategy), named) {
            (Some(ModelChoice::Manual { model }), named) => {
                trace(Step::ManualModel(model));
                self.manual(model, named)?
            }
            (_, Some(policy)) => Choice::Policy { policy, threshold },
            (_, None) => self.by_model_field(model, threshold, trace)?,
        };
        match (request.endpoint, &choice) {
            // Nothing can be classified here, and another embedding model would break the client's vectors.
            (Endpoint::Embeddings, Choice::Policy { .. } | Choice::Default { .. }) => {
                self.embeddings_by_name(model)
            }
            _ => Ok(choice),
        }
    }

    fn named_policy(
        &self,
        name: &str,
        field: &'static str,
        trace: &mut Trace<'_>,
    ) -> Result<Arc<Policy>, Rejection> {
        let found = self.config.policy(name).or_else(|| self.config.policy(untagged(name)));
        let policy = found.ok_or_else(|| Rejection::unknown_policy(name, Some(field)))?;
        trace(Step::PolicyNamed { field, policy });
        Ok(Arc::clone(policy))
    }

    /// A model or an alias; or, as the blueprint has it, a class of the policy.
    fn manual(&self, name: &str, policy: Option<Arc<Policy>>) -> Result<Choice, Rejection> {
        if let (_, Some(Name::Model(model) | Name::Alias(model))) = self.meaning(name) {
            return Ok(Choice::Model(Arc::clone(model), Reason::Manual));
        }
        let policy = policy.unwrap_or_else(|| Arc::clone(&self.config.default_policy));
        match policy.class(name).cloned() {
            Some(model) => Ok(Choice::Class { policy, model, class: name.to_owned() }),
            None => Err(Rejection::unknown_model(name, Some(METADATA_FIELD))),
        }
    }

    fn by_model_field(
        &self,
        name: Option<&str>,
        threshold: Option<f32>,
        trace: &mut Trace<'_>,
    ) -> Result<Choice, Rejection> {
        let Some(name) = name.filter(|name| !name.trim().is_empty()) else {
            trace(Step::NoModelField);
            return Ok(Choice::Default { threshold });
        };
        let (name, meaning) = self.meaning(name);
        if meaning.is_some() {
            trace(Step::ModelField { name, meaning });
        }
        match meaning {
            Some(Name::Policy(policy)) => Ok(Choice::Policy { policy: Arc::clone(policy), threshold }),
            Some(Name::Model(model)) => Ok(Choice::Model(Arc::clone(model), Reason::Manual)),
            Some(Name::Alias(model)) => Ok(Choice::Model(Arc::clone(model), Reason::Alias)),
            Some(Name::Auto) => Ok(Choice::Default { threshold }),
            None => self.by_unknown_name(name, threshold, trace),
        }
    }

    /// A name and what it means. Ignores white space around it, and `:latest`, which Ollama's clients add.
    fn meaning<'n>(&self, name: &'n str) -> (&'n str, Option<&Name>) {
        let trimmed = name.trim();
        let untagged = trimmed.strip_suffix(":latest").unwrap_or(trimmed);
        let found =
            [name, trimmed, untagged].into_iter().find_map(|name| Some((name, self.config.name(name)?)));
        match found {
            Some((name, meaning)) => (name, Some(meaning)),
            None => (name, None),
        }
    }

    /// Either `policy:threshold`, or a model that is not configured.
    fn by_unknown_name(
        &self,
        name: &str,
        threshold: Option<f32>,
        trace: &mut Trace<'_>,
    ) -> Result<Choice, Rejection> {
        if let Some((before, bound)) = untagged(name).rsplit_once(':')
            && let Some(meaning @ (Name::Policy(_) | Name::Auto)) = self.config.name(before)
        {
            let bound = bound.parse().ok().filter(|bound| (0.0..=1.0).contains(bound));
            let threshold = Some(bound.ok_or_else(|| {
                Rejection::invalid(
                    Some("model"),
                    "the threshold after the policy's name must be between 0 and 1",
                )
            })?);
            trace(Step::ModelField { name: before, meaning: Some(meaning) });
            return Ok(match meaning {
                Name::Policy(policy) => Choice::Policy { policy: Arc::clone(policy), threshold },
                _ => Choice::Default { threshold },
            });
        }
        trace(Step::ModelField { name, meaning: None });
        match self.config.on_unknown_model {
            OnUnknownModel::Route => Ok(Choice::Default { threshold }),
            OnUnknownModel::Reject => Err(Rejection::unknown_model(name, Some("model"))),
            OnUnknownModel::Passthrough => Ok(Choice::Passthrough),
        }
    }

    /// By the model's name alone: a policy in a header or in the metadata has no meaning here. As the model, a policy's name is an
    /// error.
    fn embeddings_by_name(&self, name: Option<&str>) -> Result<Choice, Rejection> {
        let name = name.filter(|name| !name.trim().is_empty());
        let before = name.and_then(|name| untagged(name).rsplit_once(':')).map(|(before, _)| before);
        let meaning =
            name.and_then(|name| self.meaning(name).1).or(before.and_then(|name| self.config.name(name)));
        match (meaning, name) {
            (Some(Name::Model(model)), _) => Ok(Choice::Model(Arc::clone(model), Reason::Manual)),
            (Some(Name::Alias(model)), _) => Ok(Choice::Model(Arc::clone(model), Reason::Alias)),
            (None, Some(name)) => self.unknown_embedding_model(name),
            _ => Err(Rejection::invalid(
                Some("model"),
                "embeddings cannot be routed by a policy; name a model",
            )),
        }
    }

    /// A model that is not configured. Unless it is rejected, the request goes to Envoy's own routes: `route` means the default
    /// policy, which has no embedding model.
    fn unknown_embedding_model(&self, name: &str) -> Result<Choice, Rejection> {
        match self.config.on_unknown_model {
            OnUnknownModel::Route | OnUnknownModel::Passthrough => Ok(Choice::Passthrough),
            OnUnknownModel::Reject => Err(Rejection::unknown_model(name, Some("model"))),
        }
    }
}

/// A name without white space around it, and without the tag that Ollama's clients add.
fn untagged(name: &str) -> &str {
    let name = name.trim();
    name.strip_suffix(":latest").unwrap_or(name).trim_end()
}

/// A name that is not empty. As the blueprint has it, white space around it does not count.
fn given(name: &str) -> Option<&str> {
    Some(name.trim()).filter(|name| !name.is_empty())
}

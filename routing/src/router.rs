//! Plans a request: at once where no model is needed, else with what the classifier says.

use std::sync::Arc;

use crate::classification::Classification;
use crate::config::{Config, Model, Name, OnFailure, OnUnknownModel, Policy};
use crate::decision::{Decision, Reason};
use crate::headers;
use crate::refusal::Refusal;
use crate::request::{METADATA_FIELD, Request, Strategy, TextToClassify};

/// Routes by one configuration.
#[derive(Clone, Debug)]
pub struct Router {
    config: Config,
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Route it: no classifier is needed.
    Route(Decision),
    /// Ask the policy's classifier, then [`Router::decide`].
    Classify {
        /// The policy that wants to know.
        policy: Arc<Policy>,
        /// What the classifier reads.
        text: TextToClassify,
    },
    /// Leave it as the client sent it.
    Passthrough,
}

/// The classifier gave no usable answer: it is down, late, overloaded, or lacks the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoClassification;

/// How the model is to be chosen, once all that a client can say of it is weighed.
enum Choice {
    Model(Arc<Model>, Reason),
    Class { policy: Arc<Policy>, model: Arc<Model> },
    Policy(Arc<Policy>),
    Passthrough,
}

impl Router {
    /// A router for this configuration.
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Decides what needs no classifier. `policy_header` is the client's `x-llm-policy`.
    ///
    /// # Errors
    /// A 404 if the client names a policy or model that is not configured.
    pub fn plan(&self, request: &Request<'_>, policy_header: Option<&str>) -> Result<Plan, Refusal> {
        Ok(match self.choose(request, policy_header)? {
            Choice::Model(model, reason) => {
                Plan::Route(Decision { model, policy: None, classification: None, reason })
            }
            Choice::Class { policy, model } => Plan::Route(Decision {
                model,
                policy: Some(policy),
                classification: None,
                reason: Reason::Manual,
            }),
            Choice::Policy(policy) => {
                let text = request.text_to_classify(self.config.limits.classify_text);
                if text.is_empty() {
                    Plan::Route(by_default(policy, None, Reason::Default))
                } else {
                    Plan::Classify { policy, text }
                }
            }
            Choice::Passthrough => Plan::Passthrough,
        })
    }

    /// Decides with the classifier's answer.
    ///
    /// # Errors
    /// A 503 if there is no answer and the configuration says to refuse then.
    pub fn decide(
        &self,
        policy: Arc<Policy>,
        answer: Result<Classification, NoClassification>,
    ) -> Result<Decision, Refusal> {
        match (answer, self.config.sidecar.on_failure) {
            (Ok(classification), _) => Ok(by_label(policy, classification)),
            (Err(NoClassification), OnFailure::Default) => Ok(by_default(policy, None, Reason::Fallback)),
            (Err(NoClassification), OnFailure::Reject) => Err(Refusal::classifier_unavailable()),
        }
    }

    /// The strongest of what the client says: the body's metadata, then the header, then the body's `model`.
    fn choose(&self, request: &Request<'_>, policy_header: Option<&str>) -> Result<Choice, Refusal> {
        let directives = request.directives.as_ref();
        let named = match (directives.and_then(|directives| directives.policy.as_deref()), policy_header) {
            (Some(name), _) => Some(self.named_policy(name, METADATA_FIELD)?),
            (None, Some(name)) => Some(self.named_policy(name, headers::POLICY)?),
            (None, None) => None,
        };
        if let Some(Strategy::Manual { model }) = directives.map(|directives| &directives.strategy) {
            return self.manual(model, named);
        }
        match named {
            Some(policy) => Ok(Choice::Policy(policy)),
            None => self.by_model_field(request.model.as_deref()),
        }
    }

    fn named_policy(&self, name: &str, param: &'static str) -> Result<Arc<Policy>, Refusal> {
        self.config.policy(name).cloned().ok_or_else(|| Refusal::unknown_policy(name, Some(param)))
    }

    /// A model or an alias; or, as the blueprint has it, a class of the policy, which stands for that class's model.
    fn manual(&self, name: &str, policy: Option<Arc<Policy>>) -> Result<Choice, Refusal> {
        if let Some(Name::Model(model) | Name::Alias(model)) = self.config.name(name) {
            return Ok(Choice::Model(Arc::clone(model), Reason::Manual));
        }
        let policy = policy.unwrap_or_else(|| Arc::clone(&self.config.default_policy));
        match policy.routes.get(name).cloned() {
            Some(model) => Ok(Choice::Class { policy, model }),
            None => Err(Refusal::unknown_model(name, Some(METADATA_FIELD))),
        }
    }

    fn by_model_field(&self, name: Option<&str>) -> Result<Choice, Refusal> {
        let Some(name) = name else {
            return Ok(Choice::Policy(Arc::clone(&self.config.default_policy)));
        };
        match (self.config.name(name), self.config.on_unknown_model) {
            (Some(Name::Policy(policy)), _) => Ok(Choice::Policy(Arc::clone(policy))),
            (Some(Name::Model(model)), _) => Ok(Choice::Model(Arc::clone(model), Reason::Manual)),
            (Some(Name::Alias(model)), _) => Ok(Choice::Model(Arc::clone(model), Reason::Alias)),
            (Some(Name::Auto), _) | (None, OnUnknownModel::Route) => {
                Ok(Choice::Policy(Arc::clone(&self.config.default_policy)))
            }
            (None, OnUnknownModel::Reject) => Err(Refusal::unknown_model(name, Some("model"))),
            (None, OnUnknownModel::Passthrough) => Ok(Choice::Passthrough),
        }
    }
}

fn by_label(policy: Arc<Policy>, classification: Classification) -> Decision {
    let sure = classification.confidence() >= policy.min_confidence;
    match policy.routes.get(classification.label()).filter(|_| sure).cloned() {
        Some(model) => Decision {
            model,
            policy: Some(policy),
            classification: Some(classification),
            reason: Reason::Classified,
        },
        None => by_default(policy, Some(classification), Reason::Default),
    }
}

fn by_default(policy: Arc<Policy>, classification: Option<Classification>, reason: Reason) -> Decision {
    Decision { model: Arc::clone(&policy.default), policy: Some(policy), classification, reason }
}

#[cfg(test)]
mod tests;

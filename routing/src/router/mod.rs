//! Plans a request: at once where no classifier is needed, else with the classifier's result.

mod choice;
mod match_input;
mod step;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use choice::Choice;
use match_input::RequestInput;
pub use step::{Step, Trace};

use crate::classification::Classification;
use crate::config::{Config, Model, OnFailure, Policy, Strategy, Target, Then};
use crate::decision::{Decision, Reason};
use crate::digest::Digest;
use crate::rejection::Rejection;
use crate::request::{Request, RequestHead, TextToClassify};
use crate::requirements::{Requirements, UnmetRequirement};

/// Routes by one configuration.
#[derive(Clone, Debug)]
pub struct Router {
    config: Arc<Config>,
    /// Computing the key hashes the prompt, so it is skipped when nothing uses it.
    needs_conversation_key: bool,
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Route it: no classifier is needed.
    Route(Decision),
    /// Ask the policy's classifier, then [`Router::decide`].
    Classify(Pending),
    /// Leave it as the client sent it.
    Passthrough,
}

/// A request that waits for its classification.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The policy that wants to know.
    pub policy: Arc<Policy>,
    /// What the classifier reads.
    pub text: TextToClassify,
    conversation: Digest,
    threshold: Option<f32>,
    needs: Requirements,
    failover: bool,
}

/// What is known of a prompt's classification.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassifierResult {
    /// The classifier was called.
    Fresh(Classification),
    /// The classifier was called for the same text before.
    Cached(Classification),
    /// The classifier gave no usable prediction: it is down, late, overloaded, or lacks the head.
    Unavailable,
}

impl Router {
    /// A router for this configuration.
    pub fn new(config: impl Into<Arc<Config>>) -> Self {
        let config = config.into();
        Self { needs_conversation_key: config.needs_conversation_key(), config }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Decides what needs no classifier.
    ///
    /// # Errors
    /// A 404 if the client names a policy or model that is not configured; a 400 if no model can take the request.
    pub fn plan(
        &self,
        request: &Request<'_>,
        head: &RequestHead,
        trace: &mut Trace<'_>,
    ) -> Result<Plan, Rejection> {
        trace(Step::Required(&request.needs));
        let conversation = self.conversation(request, head);
        let (policy, threshold) = match self.choose(request, head, trace)? {
            Choice::Passthrough => return Ok(Plan::Passthrough),
            Choice::Model(model, reason) => {
                return by_name(model, None, reason, &request.needs).map(Plan::Route);
            }
            Choice::Class { policy, model } => {
                return by_name(model, Some(policy), Reason::Manual, &request.needs).map(Plan::Route);
            }
            Choice::Policy { policy, threshold } => (policy, threshold),
            Choice::Default { threshold } => match self.rule(request, head, trace) {
                Some(Then::Target(target)) => {
                    let model = pick(target, conversation)?;
                    return by_name(model, None, Reason::Rule, &request.needs).map(Plan::Route);
                }
                Some(Then::Policy(policy)) => (Arc::clone(policy), threshold),
                None => (Arc::clone(&self.config.default_policy), threshold),
            },
        };
        check_threshold(&policy, threshold)?;
        if let Some(threshold) = threshold {
            trace(Step::Threshold(threshold));
        }
        trace(Step::Policy(&policy));
        let text = request.text_to_classify(self.config.limits.classify_text);
        let failover = self.config.failover;
        let pending = Pending { policy, text, conversation, threshold, needs: request.needs, failover };
        if pending.text.is_empty() {
            return pending.by_default(None, Reason::Default, trace).map(Plan::Route);
        }
        trace(Step::Prompt(&pending.text));
        Ok(Plan::Classify(pending))
    }

    /// Decides with the classifier's result.
    ///
    /// # Errors
    /// A 503 if there is no result and the configuration says to reject then; a 400 if no model of the policy can take
    /// the request.
    pub fn decide(
        &self,
        pending: &Pending,
        result: ClassifierResult,
        trace: &mut Trace<'_>,
    ) -> Result<Decision, Rejection> {
        match result {
            ClassifierResult::Fresh(classification) => {
                pending.by_classification(classification, Reason::Classified, trace)
            }
            ClassifierResult::Cached(classification) => {
                pending.by_classification(classification, Reason::Cached, trace)
            }
            ClassifierResult::Unavailable => {
                trace(Step::Unavailable);
                match self.config.sidecar.on_failure {
                    OnFailure::Default => pending.by_default(None, Reason::Fallback, trace),
                    OnFailure::Reject => Err(Rejection::classifier_unavailable()),
                }
            }
        }
    }

    /// The first rule that matches.
    fn rule(&self, request: &Request<'_>, head: &RequestHead, trace: &mut Trace<'_>) -> Option<&Then> {
        let input = RequestInput::new(request, head, self.config.limits.classify_text);
        let rules = self.config.rules.iter().enumerate();
        let mut compared = rules.map(|(index, rule)| {
            let matches = rule.when.matches(&input);
            trace(Step::Rule { index, matches });
            matches.then_some(&rule.then)
        });
        compared.find_map(|then| then)
    }

    /// By the configured header, else by how the conversation begins. All are one where none needs to be told.
    fn conversation(&self, request: &Request<'_>, head: &RequestHead) -> Digest {
        if !self.needs_conversation_key {
            return Digest::of_number(0);
        }
        let header = self.config.stickiness.as_ref().and_then(|stickiness| stickiness.header.as_deref());
        match header.and_then(|name| head.header(name)) {
            Some(value) => Digest::of(&["header", value]),
            None => Digest::of_number(request.conversation()),
        }
    }
}

impl Pending {
    /// The decision for a conversation that keeps its model, if that can take the request.
    pub fn keep(&self, model: &Arc<Model>) -> Option<Decision> {
        if model.lacks(&self.needs).is_some() {
            return None;
        }
        let policy = Some(Arc::clone(&self.policy));
        let next = self.next_after(model);
        Some(Decision {
            model: Arc::clone(model),
            policy,
            classification: None,
            reason: Reason::Sticky,
            next,
            alternative: None,
        })
    }

    /// Tells this conversation under this policy from others.
    pub fn conversation(&self) -> Digest {
        Digest::of(&[self.policy.name.as_str(), &self.conversation.number().to_string()])
    }

    /// The classifier and the text that it reads: the same for the same classification.
    pub fn cache_key(&self) -> Digest {
        let texts = self.text.excerpts().iter().map(|excerpt| excerpt.written());
        let parts: Vec<_> = [self.policy.classifier.identity().as_bytes()].into_iter().chain(texts).collect();
        Digest::of(&parts)
    }

    fn by_classification(
        &self,
        classification: Classification,
        reason: Reason,
        trace: &mut Trace<'_>,
    ) -> Result<Decision, Rejection> {
        let target = match (&self.policy.chooser, &classification) {
            (Strategy::Labels { routes, min_confidence }, classification) => {
                let min_confidence = self.threshold.unwrap_or(*min_confidence);
                let label = classification.label();
                let sure = label.filter(|label| label.confidence() >= min_confidence);
                let target = sure.and_then(|label| routes.get(label.name()));
                match label {
                    Some(label) => trace(Step::Label { label, min_confidence, target }),
                    None => trace(Step::WrongKind),
                }
                target
            }
            (Strategy::Bands(bands), Classification::Score(score)) => {
                let (score, threshold) = (score.get(), self.threshold);
                let target = match threshold {
                    Some(threshold) => bands.target_by_threshold(score, threshold),
                    None => Some(bands.target(score)),
                };
                trace(Step::Score { score, threshold, target });
                target
            }
            // The sidecar's head is not of the kind that the policy was written for.
            (Strategy::Bands(_), Classification::Label(_)) => {
                trace(Step::WrongKind);
                None
            }
        };
        match target {
            Some(target) => self.route(target, Some(classification), reason, trace),
            None => self.by_default(Some(classification), Reason::Default, trace),
        }
    }

    fn by_default(
        &self,
        classification: Option<Classification>,
        reason: Reason,
        trace: &mut Trace<'_>,
    ) -> Result<Decision, Rejection> {
        trace(Step::Default(&self.policy.default));
        self.route(&self.policy.default, classification, reason, trace)
    }

    /// To the target's model, or to the first of the policy's fallback models that can take the request.
    fn route(
        &self,
        target: &Target,
        classification: Option<Classification>,
        reason: Reason,
        trace: &mut Trace<'_>,
    ) -> Result<Decision, Rejection> {
        let chosen = pick(target, self.conversation)?;
        let (model, reason) = match chosen.lacks(&self.needs) {
            None => (chosen, reason),
            Some(unmet) => {
                trace(Step::Unable { model: &chosen, unmet });
                (self.fallback(unmet, trace)?, Reason::Capability)
            }
        };
        let next = self.next_after(&model);
        let policy = Some(Arc::clone(&self.policy));
        Ok(Decision { model, policy, classification, reason, next, alternative: None })
    }

    fn fallback(&self, unmet: UnmetRequirement, trace: &mut Trace<'_>) -> Result<Arc<Model>, Rejection> {
        for model in &self.policy.fallbacks {
            match model.lacks(&self.needs) {
                None => {
                    trace(Step::Fallback(model));
                    return Ok(Arc::clone(model));
                }
                Some(unmet) => trace(Step::Unable { model, unmet }),
            }
        }
        Err(Rejection::no_model_can(unmet))
    }

    /// Who can take the request too, should this model fail.
    fn next_after(&self, model: &Arc<Model>) -> Vec<Arc<Model>> {
        if !self.failover {
            return Vec::new();
        }
        let others = self.policy.fallbacks.iter().filter(|other| other.name != model.name);
        others.filter(|other| other.lacks(&self.needs).is_none()).cloned().collect()
    }
}

/// A threshold must have a bound to replace.
fn check_threshold(policy: &Policy, threshold: Option<f32>) -> Result<(), Rejection> {
    match (&policy.chooser, threshold) {
        (Strategy::Bands(bands), Some(threshold)) if bands.target_by_threshold(0.0, threshold).is_none() => {
            let message = format!("a threshold needs a policy of two bands, which {} is not", policy.name);
            Err(Rejection::invalid(Some("threshold"), message))
        }
        _ => Ok(()),
    }
}

/// To the model that was named. Its capabilities are the business of who named it; but a request in another API's
/// shape cannot be understood.
fn by_name(
    model: Arc<Model>,
    policy: Option<Arc<Policy>>,
    reason: Reason,
    needs: &Requirements,
) -> Result<Decision, Rejection> {
    match model.lacks(needs) {
        Some(lack @ UnmetRequirement::Api(_)) => Err(Rejection::model_cannot(model.name.as_str(), lack)),
        _ => {
            let next = Vec::new();
            Ok(Decision { model, policy, classification: None, reason, next, alternative: None })
        }
    }
}

fn pick(target: &Target, conversation: Digest) -> Result<Arc<Model>, Rejection> {
    // A validated target always has a model.
    target.pick(conversation.number()).cloned().ok_or_else(Rejection::classifier_unavailable)
}

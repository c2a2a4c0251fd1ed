//! Plans a request: immediately if no prediction is needed, else with the predictions of the classifiers.

mod choice;
mod decide;
mod match_input;
mod pending;
mod step;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use choice::Choice;
pub use decide::{Outcome, Progress};
use match_input::RequestInput;
use pending::{Facts, Message, Messages, OpenRule, Otherwise};
pub use pending::{Known, Pending, Wanted};
pub use step::{Step, Trace};

use crate::config::{
    Config, IdentitySource, Mode, Model, OnFailure, OnUnknownResponse, Policy, Rule, StickinessMode,
    Strategy, Then,
};
use crate::decision::Reason;
use crate::digest::Digest;
use crate::rejection::Rejection;
use crate::request::{Endpoint, HumanTurns, Prompt, Request, RequestHead};

/// Routes by one configuration.
#[derive(Clone, Debug)]
pub struct Router {
    config: Arc<Config>,
    /// Computing the key hashes the first message, so it is skipped when nothing uses it.
    needs_conversation_key: bool,
}

/// The model that made a response, by the response's id, if that is known.
pub type ResponseMaker<'m> = dyn Fn(&str) -> Option<Arc<Model>> + 'm;

/// The maximum number of messages that decide. In longer conversations, the first and the last ones decide.
const MAX_MESSAGES: usize = 32;

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

    /// The plan for a request: [`Pending::progress`] returns the decision, or the missing predictions.
    ///
    /// # Errors
    /// A 404 if the client names a policy or model that is not configured; a 400 if a prompt that must be classified, or that a rule
    /// may reject, cannot be read.
    pub fn plan(
        &self,
        request: &Request<'_>,
        head: &RequestHead,
        maker: &ResponseMaker<'_>,
        trace: &mut Trace<'_>,
    ) -> Result<Pending, Rejection> {
        trace(Step::Required(&request.needs));
        let choice = self.choose(request, head, trace)?;
        let is_default = matches!(choice, Choice::Default { .. });
        let (chosen, threshold) = self.chosen(choice);
        let input = RequestInput::new(request, head, &self.config.prompt);
        let elsewhere = match &chosen {
            Otherwise::Policy(policy) => self.state_elsewhere(policy, request, &input, maker, trace),
            _ => None,
        };
        let is_default = is_default && elsewhere.is_none();
        // Messages that cannot be read must not bypass a rule that reads them.
        let mut in_force = self.config.rules.iter().filter(|rule| rule.always || is_default);
        if let Some(error) =
            request.prompt_error.as_ref().filter(|_| in_force.any(|rule| rule.when.reads_messages()))
        {
            return Err(error.clone());
        }
        let rules = self.rules(request, &input, is_default, trace)?;
        let otherwise = elsewhere.unwrap_or(chosen);
        let reads_prompt = reads_prompt(&rules, &otherwise);
        if let Some(error) = request.prompt_error.as_ref().filter(|_| reads_prompt) {
            return Err(error.clone());
        }
        check_threshold(&rules, &otherwise, threshold)?;
        if let Some(threshold) = threshold {
            trace(Step::Threshold(threshold));
        }
        let keeps_conversation = matches!(otherwise, Otherwise::Policy(_));
        let (messages, is_sealed) = match reads_prompt {
            true => self.messages(request, input, keeps_conversation),
            false => (Messages::none(), false),
        };
        let facts = Facts {
            needs: request.needs,
            threshold,
            conversation: self.conversation(request, head),
            // Another model could not read this model's sealed reasoning.
            failover: self.config.failover && !is_sealed,
            on_failure: self.config.sidecar.on_failure,
        };
        Ok(Pending { rules, otherwise, messages, facts })
    }

    /// The plan unless a rule matches, and the threshold that the client sets.
    fn chosen(&self, choice: Choice) -> (Otherwise, Option<f32>) {
        match choice {
            Choice::Passthrough => (Otherwise::Passthrough, None),
            Choice::Model(model, reason) => {
                (Otherwise::Model { model, policy: None, reason, class: None }, None)
            }
            Choice::Class { policy, model, class } => {
                let (policy, class) = (Some(policy), Some(class));
                (Otherwise::Model { model, policy, reason: Reason::Manual, class }, None)
            }
            Choice::Policy { policy, threshold } => (Otherwise::Policy(policy), threshold),
            Choice::Default { threshold } => {
                (Otherwise::Policy(Arc::clone(&self.config.default_policy)), threshold)
            }
        }
    }

    /// The rules that match, or may match by predictions, up to the first that does whatever they are.
    ///
    /// # Errors
    /// If failures are to reject: a 400 if a rule rejects by the prompt's text or by predictions for it, and the prompt cannot be read.
    fn rules(
        &self,
        request: &Request<'_>,
        input: &RequestInput<'_>,
        is_default: bool,
        trace: &mut Trace<'_>,
    ) -> Result<Vec<OpenRule>, Rejection> {
        let mut open = Vec::new();
        let fails_closed = self.config.sidecar.on_failure == OnFailure::Reject;
        for (index, rule) in
            self.config.rules.iter().enumerate().filter(|(_, rule)| rule.always || is_default)
        {
            if fails_closed
                && is_guard(rule)
                && request.is_unreadable()
                && rule.when.matches_without_text(input).is_none()
            {
                return Err(Rejection::unreadable_prompt(request.endpoint.prompt_field()));
            }
            let when = match rule.when.reduce(input) {
                Ok(matches) => {
                    trace(Step::Rule { index, matches: Some(matches) });
                    match matches && rule.mode == Mode::Enforce {
                        true => None,
                        false => continue,
                    }
                }
                // Embedding requests are not classified.
                Err(_) if request.endpoint == Endpoint::Embeddings => continue,
                Err(residual) => {
                    trace(Step::Rule { index, matches: None });
                    Some(residual)
                }
            };
            let is_last = when.is_none();
            open.push(OpenRule { index, when, then: rule.then.clone(), mode: rule.mode });
            if is_last {
                break;
            }
        }
        Ok(open)
    }

    /// The plan for a request whose state a provider stores: it goes to the model that made the response it continues. None
    /// if the policy may choose freely.
    fn state_elsewhere(
        &self,
        policy: &Arc<Policy>,
        request: &Request<'_>,
        input: &RequestInput<'_>,
        maker: &ResponseMaker<'_>,
        trace: &mut Trace<'_>,
    ) -> Option<Otherwise> {
        if request.endpoint != Endpoint::Responses {
            return None;
        }
        let field = "previous_response_id";
        if let Some(model) = request.previous_response().and_then(maker) {
            trace(Step::Continues(Some(&model)));
            return Some(match model.lacks(&request.needs) {
                Some(unmet) => {
                    Otherwise::Reject(Rejection::state_elsewhere(model.name.as_str(), unmet, field))
                }
                None => Otherwise::Model {
                    model,
                    policy: Some(Arc::clone(policy)),
                    reason: Reason::Sticky,
                    class: None,
                },
            });
        }
        let continues = request.previous_response().or(request.provider_conversation());
        if continues.is_none() || self.has_one_cluster(request) {
            return None;
        }
        trace(Step::Continues(None));
        let says_something = !input.prompt().is_empty();
        let is_unknown = request.previous_response().is_some();
        match self.config.on_unknown_response {
            OnUnknownResponse::Reject if is_unknown && says_something => {
                Some(Otherwise::Reject(Rejection::unknown_response(field)))
            }
            OnUnknownResponse::Route if is_unknown => None,
            // The request lacks the conversation's earlier turns, so a decision by its messages could differ from turn to turn.
            _ => Some(Otherwise::Default(Arc::clone(policy))),
        }
    }

    /// Whether one provider serves all models with the request's API, and so has all their state.
    fn has_one_cluster(&self, request: &Request<'_>) -> bool {
        let mut clusters =
            self.config.models().filter(|model| model.api == request.needs.api).map(|model| &model.cluster);
        let first = clusters.next();
        clusters.all(|cluster| Some(cluster) == first)
    }

    /// The messages that decide, and whether the model is bound to reasoning that it sealed.
    fn messages(
        &self,
        request: &Request<'_>,
        input: RequestInput<'_>,
        keeps_conversation: bool,
    ) -> (Messages, bool) {
        let stickiness = self.config.stickiness.as_ref();
        let sealed = request.sealed_reasoning().filter(|_| keeps_conversation);
        let mode = stickiness.map(|stickiness| stickiness.mode).filter(|_| keeps_conversation);
        if mode.is_none() && sealed.is_none() {
            return (Messages::only(input.into_prompt()), false);
        }
        let turns = request.human_turns(&self.config.prompt);
        let last = turns.len().saturating_sub(1);
        // Reasoning was sealed by the model that answered the message before it.
        let bound = sealed.map_or(last, |position| turns.before(position).saturating_sub(1));
        let deciding = match mode {
            None => vec![bound],
            Some(StickinessMode::First) => vec![0],
            Some(StickinessMode::Strongest) => {
                let from = (bound + 2).saturating_sub(MAX_MESSAGES).max(1);
                [0].into_iter().chain(from..=bound).collect()
            }
        };
        let compare = stickiness.is_some_and(|stickiness| stickiness.compare);
        (Messages::new(&turns, &deciding, compare), sealed.is_some())
    }

    /// The conversation's digest, by the first source that the request has. If no digest is needed, it is always the same.
    fn conversation(&self, request: &Request<'_>, head: &RequestHead) -> Digest {
        if !self.needs_conversation_key {
            return Digest::NONE;
        }
        let mut named = self.config.identity.iter().filter_map(|source| match source {
            IdentitySource::Header(name) => {
                let value = head.header(name).filter(|value| !value.is_empty())?;
                Some(Digest::of(&[name.as_str(), value]))
            }
            IdentitySource::Body(name) => {
                let value = request.conversation_field(name)?;
                Some(Digest::of(&[name.as_str(), &value]))
            }
            IdentitySource::Fingerprint => Some(request.fingerprint(&self.config.prompt)),
        });
        named.next().unwrap_or(Digest::NONE)
    }
}

/// Whether a rule rejects requests, and is enforced.
fn is_guard(rule: &Rule) -> bool {
    matches!(rule.then, Then::Reject(_)) && rule.mode == Mode::Enforce
}

/// The outcome of the first rule, if the rule matches whatever classifiers predict.
fn decided(rules: &[OpenRule]) -> Option<&Then> {
    rules.first().filter(|rule| rule.when.is_none()).map(|rule| &rule.then)
}

/// Whether the decision depends on the user's messages.
fn reads_prompt(rules: &[OpenRule], otherwise: &Otherwise) -> bool {
    match (decided(rules), otherwise) {
        (Some(then), _) => matches!(then, Then::Policy(_)),
        (None, Otherwise::Policy(_)) => true,
        (None, _) => rules.iter().any(|rule| rule.when.is_some()),
    }
}

/// A threshold must have a bound to replace.
fn check_threshold(
    rules: &[OpenRule],
    otherwise: &Otherwise,
    threshold: Option<f32>,
) -> Result<(), Rejection> {
    let policy = match (decided(rules), otherwise) {
        (Some(Then::Policy(policy)), _) | (None, Otherwise::Policy(policy)) => policy,
        _ => return Ok(()),
    };
    match (&policy.chooser, threshold) {
        (Strategy::Bands(bands), Some(threshold)) if bands.target_by_threshold(0.0, threshold).is_none() => {
            let message =
                format!("a threshold requires a policy with two bands, which {} does not have", policy.name);
            Err(Rejection::invalid(Some("threshold"), message))
        }
        _ => Ok(()),
    }
}

impl Messages {
    /// For a decision that reads no messages.
    fn none() -> Self {
        Self::only(Prompt::default())
    }

    fn only(prompt: Prompt) -> Self {
        Self { all: vec![Message::new(prompt)], deciding: 1, compare: false }
    }

    /// The messages that decide, by their positions, and the last message.
    fn new(turns: &HumanTurns<'_, '_>, deciding: &[usize], compare: bool) -> Self {
        let last = turns.len().saturating_sub(1);
        let more = (deciding.last() != Some(&last)).then_some(last);
        let all = deciding.iter().copied().chain(more).map(|index| Message::new(turns.prompt(index)));
        Self { all: all.collect(), deciding: deciding.len(), compare }
    }
}

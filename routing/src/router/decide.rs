//! Decides on a request by the known predictions for its messages, or returns the missing ones.
//!
//! The decision is a function of the request and of the predictions for the user's messages that it holds. So it is the same
//! on every worker and replica, whatever they have cached.

use std::sync::Arc;

use super::pending::{Known, OpenRule, Otherwise, Pending, Wanted};
use super::step::{Step, Trace};
use crate::classification::Classification;
use crate::config::{
    Classifier, HeadCondition, Mode, Model, OnFailure, Policy, Reject, Residual, Strategy, Target, Then,
};
use crate::decision::{Comparison, Decision, Reason};
use crate::rejection::Rejection;
use crate::requirements::UnmetRequirement;

/// The progress of a decision.
#[derive(Debug)]
pub enum Progress {
    /// These predictions are missing.
    Wants(Wanted),
    /// The decision is made.
    Done(Result<Outcome, Rejection>),
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It goes to a model.
    Route(Decision),
    /// It is forwarded unchanged.
    Passthrough,
}

/// Why an evaluation ends early.
enum Stop {
    Wants(Wanted),
    Reject(Rejection),
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        Self::Reject(rejection)
    }
}

/// The result of one message.
enum Choice<'p> {
    Target(Candidate<'p>),
    /// A result that does not depend on messages.
    Otherwise,
}

/// A target that one of the messages selects.
struct Candidate<'p> {
    target: &'p Target,
    policy: Option<&'p Arc<Policy>>,
    classification: Option<&'p Classification>,
    reason: Reason,
    /// The message's position.
    message: usize,
}

/// The steps so far. They are reported only once nothing is missing, because missing predictions start the decision again.
type Steps<'p> = Vec<Step<'p>>;

/// Whose decision is evaluated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// The policies themselves.
    Policies,
    /// The candidate of each policy that has one.
    Candidates,
}

impl By {
    fn policy(self, policy: &Arc<Policy>) -> &Arc<Policy> {
        match self {
            Self::Policies => policy,
            Self::Candidates => policy.candidate.as_ref().unwrap_or(policy),
        }
    }
}

/// The result of all messages together.
enum Chosen<'p> {
    /// A target, and the model for the last message alone, if it is known.
    Target(Candidate<'p>, Option<Arc<Model>>),
    /// A result that does not depend on messages.
    Otherwise,
}

impl Pending {
    /// Decides, if all relevant predictions are known.
    pub fn progress(&self, trace: &mut Trace<'_>) -> Progress {
        let mut steps = Steps::new();
        let chosen = match self.choose(By::Policies, &mut steps) {
            Err(Stop::Wants(wanted)) => return Progress::Wants(wanted),
            Err(Stop::Reject(rejection)) => Err(rejection),
            Ok(chosen) => Ok(chosen),
        };
        steps.into_iter().for_each(&mut *trace);
        Progress::Done(chosen.and_then(|chosen| match chosen {
            Chosen::Target(best, current) => {
                let mut decision = self.decide(best, current, trace)?;
                decision.comparison = self.comparison(&decision);
                if let Some(comparison) = &decision.comparison {
                    trace(Step::Compared(comparison));
                }
                Ok(Outcome::Route(decision))
            }
            Chosen::Otherwise => self.otherwise(),
        }))
    }

    /// The choice of the candidate of the policy that decided. If the request sets a threshold, nothing is compared: it
    /// is one of this policy's scores.
    fn comparison(&self, decision: &Decision) -> Option<Comparison> {
        let policy = decision.policy.as_ref().filter(|policy| policy.candidate.is_some())?;
        if self.facts.threshold.is_some() {
            return None;
        }
        let model = match self.choose(By::Candidates, &mut Steps::new()) {
            Ok(Chosen::Target(best, _)) if best.reason != Reason::ClassifierUnavailable => {
                self.decide(best, None, &mut |_| ()).ok().map(|decision| decision.model)
            }
            _ => None,
        };
        Some(Comparison { policy: Arc::clone(policy), model })
    }

    /// The strongest of the targets of the messages that decide.
    fn choose<'p>(&'p self, by: By, steps: &mut Steps<'p>) -> Result<Chosen<'p>, Stop> {
        let mut candidates = Vec::new();
        // The last message first, so that its prediction is available if time runs out.
        for message in (0..self.messages.deciding).rev() {
            match self.of_message(by, message, steps)? {
                Choice::Target(candidate) => candidates.push(candidate),
                Choice::Otherwise => return Ok(Chosen::Otherwise),
            }
        }
        let last = self.last_message();
        let current = match candidates.first() {
            Some(candidate) if candidate.message == last => self.pick(candidate.target).ok(),
            _ => self.compared(by, last)?,
        };
        // A message without a prediction counts only if no message has one.
        let is_known = |candidate: &Candidate<'_>| candidate.reason != Reason::ClassifierUnavailable;
        if candidates.iter().any(is_known) {
            candidates.retain(is_known);
        }
        let mut candidates = candidates.into_iter();
        let mut best = candidates.next().ok_or_else(Rejection::classifier_unavailable)?;
        for candidate in candidates {
            if self.is_stronger(&candidate, &best)? {
                best = candidate;
            }
        }
        Ok(Chosen::Target(best, current))
    }

    fn decide(
        &self,
        best: Candidate<'_>,
        current: Option<Arc<Model>>,
        trace: &mut Trace<'_>,
    ) -> Result<Decision, Rejection> {
        let is_sticky = best.message != self.last_message();
        let mut decision = self.route(best, trace)?;
        if is_sticky && matches!(decision.reason, Reason::Classified | Reason::Cached | Reason::Default) {
            decision.reason = Reason::Sticky;
            trace(Step::Sticky(&decision.model));
        }
        decision.alternative = current.filter(|_| is_sticky);
        Ok(decision)
    }

    /// The model for the last message alone, if it is compared.
    fn compared(&self, by: By, last: usize) -> Result<Option<Arc<Model>>, Stop> {
        if !self.messages.compare {
            return Ok(None);
        }
        match self.of_message(by, last, &mut Steps::new()) {
            Err(Stop::Wants(wanted)) => Err(Stop::Wants(wanted)),
            Ok(Choice::Target(candidate)) => Ok(self.pick(candidate.target).ok()),
            Ok(Choice::Otherwise) | Err(Stop::Reject(_)) => Ok(None),
        }
    }

    /// By the first rule that matches, else by the policy.
    fn of_message<'p>(&'p self, by: By, message: usize, steps: &mut Steps<'p>) -> Result<Choice<'p>, Stop> {
        for rule in &self.rules {
            if !self.matches(rule, message, steps)? {
                continue;
            }
            match &rule.then {
                Then::Reject(reject) => return Err(Stop::Reject(by_rule(reject))),
                Then::Policy(policy) => {
                    return self.by_policy(by.policy(policy), message, steps).map(Choice::Target);
                }
                Then::Target(target) => {
                    let reason = Reason::Rule;
                    let candidate = Candidate { target, policy: None, classification: None, reason, message };
                    return Ok(Choice::Target(candidate));
                }
            }
        }
        match &self.otherwise {
            Otherwise::Policy(policy) => {
                self.by_policy(by.policy(policy), message, steps).map(Choice::Target)
            }
            _ => Ok(Choice::Otherwise),
        }
    }

    /// Whether a rule matches and is enforced.
    fn matches(&self, rule: &OpenRule, message: usize, steps: &mut Steps<'_>) -> Result<bool, Stop> {
        let Some(when) = &rule.when else { return Ok(true) };
        let read = self.message_of(rule, message);
        let matches = match self.evaluate(when, read) {
            Some(matches) => matches,
            None => self.without_prediction(when, read)?,
        };
        // Reported once, although it is evaluated for each message.
        if message + 1 == self.messages.deciding {
            steps.push(Step::Rule { index: rule.index, matches: Some(matches) });
        }
        Ok(matches && rule.mode == Mode::Enforce)
    }

    /// The message that a rule reads. Rules that reject read the last one.
    fn message_of(&self, rule: &OpenRule, message: usize) -> usize {
        match rule.then {
            Then::Reject(_) => self.last_message(),
            Then::Policy(_) | Then::Target(_) => message,
        }
    }

    fn evaluate(&self, when: &Residual, message: usize) -> Option<bool> {
        let message = self.messages.all.get(message)?;
        when.evaluate(&mut |condition: &HeadCondition| {
            Some(message.known_head(&condition.head)?.prediction()?.meets(&condition.test))
        })
    }

    /// A condition that depends on a missing prediction does not match.
    fn without_prediction(&self, when: &Residual, index: usize) -> Result<bool, Stop> {
        let Some(message) = self.messages.all.get(index).filter(|it| !it.prompt.is_empty()) else {
            return Ok(false);
        };
        if when.heads().into_iter().any(|head| message.known_head(head).is_none()) {
            return Err(Stop::Wants(self.wanted(index, None)));
        }
        match self.facts.on_failure {
            OnFailure::Default => Ok(false),
            OnFailure::Reject => Err(Stop::Reject(Rejection::classifier_unavailable())),
        }
    }

    /// All heads that a message may need, in one call, and this policy's classifier.
    fn wanted(&self, index: usize, policy: Option<&Arc<Policy>>) -> Wanted {
        let mut classifiers = Vec::new();
        if let Some(policy) = policy {
            self.want(&policy.classifier, index, &mut classifiers);
        }
        for rule in &self.rules {
            let asked = match self.decides(index) {
                true => true,
                false => matches!(rule.then, Then::Reject(_)),
            };
            let reads = self.message_of(rule, index) == index;
            if let Some(when) = rule.when.as_ref().filter(|_| asked && reads) {
                for head in when.heads() {
                    self.want(&Classifier::Head(head.to_owned()), index, &mut classifiers);
                }
            }
        }
        let otherwise = match &self.otherwise {
            Otherwise::Policy(policy) if self.decides(index) => Some(policy),
            _ => None,
        };
        if let Some(policy) = otherwise {
            self.want(&policy.classifier, index, &mut classifiers);
        }
        let required = classifiers.len();
        if self.facts.threshold.is_none() {
            for candidate in policy.into_iter().chain(otherwise).filter_map(|it| it.candidate.as_ref()) {
                self.want(&candidate.classifier, index, &mut classifiers);
            }
        }
        let for_comparison = classifiers.split_off(required);
        Wanted { message: index, classifiers, for_comparison }
    }

    /// Adds a classifier, unless its prediction for the message is known. One call carries one set of few-shot examples.
    fn want(&self, classifier: &Classifier, message: usize, wanted: &mut Vec<Classifier>) {
        let is_known = self.messages.all.get(message).is_some_and(|it| it.known(classifier).is_some());
        let is_second =
            classifier.examples().is_some() && wanted.iter().any(|other| other.examples().is_some());
        if !is_known && !is_second && !wanted.contains(classifier) {
            wanted.push(classifier.clone());
        }
    }

    /// Whether a message decides on a model, even if only for comparison.
    fn decides(&self, index: usize) -> bool {
        index < self.messages.deciding || self.messages.compare
    }

    fn by_policy<'p>(
        &'p self,
        policy: &'p Arc<Policy>,
        index: usize,
        steps: &mut Steps<'p>,
    ) -> Result<Candidate<'p>, Stop> {
        steps.push(Step::Policy(policy));
        let Some(message) = self.messages.all.get(index).filter(|it| !it.prompt.is_empty()) else {
            return Ok(by_default(policy, None, Reason::Default, index, steps));
        };
        steps.push(Step::Prompt(&message.prompt));
        let (prediction, reason) = match message.known(&policy.classifier) {
            None => return Err(Stop::Wants(self.wanted(index, Some(policy)))),
            Some(Known::Fresh(prediction)) => (prediction, Reason::Classified),
            Some(Known::Cached(prediction)) => (prediction, Reason::Cached),
            Some(Known::Unavailable) => {
                steps.push(Step::Unavailable);
                return match self.facts.on_failure {
                    OnFailure::Default => {
                        Ok(by_default(policy, None, Reason::ClassifierUnavailable, index, steps))
                    }
                    OnFailure::Reject => Err(Stop::Reject(Rejection::classifier_unavailable())),
                };
            }
        };
        let classification = prediction.classification();
        Ok(match self.target(policy, classification, steps) {
            Some(target) => Candidate {
                target,
                policy: Some(policy),
                classification: Some(classification),
                reason,
                message: index,
            },
            None => by_default(policy, Some(classification), Reason::Default, index, steps),
        })
    }

    /// The target that a policy has for a classification.
    fn target<'p>(
        &self,
        policy: &'p Policy,
        classification: &'p Classification,
        steps: &mut Steps<'p>,
    ) -> Option<&'p Target> {
        match (&policy.chooser, classification) {
            (Strategy::Labels { routes, min_confidence }, classification) => {
                let min_confidence = self.facts.threshold.unwrap_or(*min_confidence);
                let label = classification.label();
                let sure = label.filter(|label| label.confidence() >= min_confidence);
                let target = sure.and_then(|label| routes.get(label.name()));
                match label {
                    Some(label) => steps.push(Step::Label { label, min_confidence, target }),
                    None => steps.push(Step::WrongKind),
                }
                target
            }
            (Strategy::Bands(bands), Classification::Score(score)) => {
                let (score, threshold) = (score.get(), self.facts.threshold);
                let target = match threshold {
                    Some(threshold) => bands.target_by_threshold(score, threshold),
                    None => Some(bands.target(score)),
                };
                steps.push(Step::Score { score, threshold, target });
                target
            }
            // The head predicts another kind of value than the policy expects.
            (Strategy::Bands(_), Classification::Label(_)) => {
                steps.push(Step::WrongKind);
                None
            }
        }
    }

    /// Whether one candidate's model is stronger than another's: by the policy's bands, else by price.
    fn is_stronger(&self, one: &Candidate<'_>, other: &Candidate<'_>) -> Result<bool, Rejection> {
        let (model, than) = (self.pick(one.target)?, self.pick(other.target)?);
        let bands = one.policy.zip(other.policy).filter(|(one, other)| one.id == other.id);
        Ok(match bands.and_then(|(policy, _)| policy.bands()) {
            Some(bands) => bands.rank(&model) > bands.rank(&than),
            None => model.price() > than.price(),
        })
    }

    fn pick(&self, target: &Target) -> Result<Arc<Model>, Rejection> {
        // A validated target always has a model.
        let model = target.pick(self.facts.conversation.number());
        model.cloned().ok_or_else(Rejection::classifier_unavailable)
    }

    /// To the candidate's model, or to the first of its policy's fallback models that support the request.
    fn route(&self, candidate: Candidate<'_>, trace: &mut Trace<'_>) -> Result<Decision, Rejection> {
        let Candidate { target, policy, classification, reason, .. } = candidate;
        let chosen = self.pick(target)?;
        let Some(policy) = policy else { return self.by_name(chosen, None, reason, None) };
        let (model, reason) = match chosen.lacks(&self.facts.needs) {
            None => (chosen, reason),
            Some(unmet) => {
                trace(Step::Unable { model: &chosen, unmet });
                (self.fallback(policy, unmet, trace)?, Reason::Capability)
            }
        };
        let next = self.next_after(policy, &model);
        let (policy, classification) = (Some(Arc::clone(policy)), classification.cloned());
        Ok(Decision {
            model,
            policy,
            classification,
            class: None,
            reason,
            next,
            alternative: None,
            comparison: None,
        })
    }

    fn fallback(
        &self,
        policy: &Policy,
        unmet: UnmetRequirement,
        trace: &mut Trace<'_>,
    ) -> Result<Arc<Model>, Rejection> {
        for model in &policy.fallbacks {
            match model.lacks(&self.facts.needs) {
                None => {
                    trace(Step::Fallback(model));
                    return Ok(Arc::clone(model));
                }
                Some(unmet) => trace(Step::Unable { model, unmet }),
            }
        }
        Err(Rejection::no_model_can(unmet))
    }

    /// The models that take the request if this model fails.
    fn next_after(&self, policy: &Policy, model: &Arc<Model>) -> Vec<Arc<Model>> {
        if !self.facts.failover {
            return Vec::new();
        }
        let others = policy.fallbacks.iter().filter(|other| other.name != model.name);
        others.filter(|other| other.lacks(&self.facts.needs).is_none()).cloned().collect()
    }

    fn otherwise(&self) -> Result<Outcome, Rejection> {
        match &self.otherwise {
            Otherwise::Model { model, policy, reason, class } => {
                let model = Arc::clone(model);
                Ok(Outcome::Route(self.by_name(model, policy.clone(), *reason, class.clone())?))
            }
            Otherwise::Default(policy) => {
                let candidate = by_default(policy, None, Reason::Default, 0, &mut Steps::new());
                Ok(Outcome::Route(self.route(candidate, &mut |_| ())?))
            }
            Otherwise::Passthrough => Ok(Outcome::Passthrough),
            Otherwise::Reject(rejection) => Err(rejection.clone()),
            // A policy is chosen by message.
            Otherwise::Policy(_) => Err(Rejection::classifier_unavailable()),
        }
    }

    /// The named model. Whoever named it is responsible for its capabilities, but it must speak the request's API.
    fn by_name(
        &self,
        model: Arc<Model>,
        policy: Option<Arc<Policy>>,
        reason: Reason,
        class: Option<String>,
    ) -> Result<Decision, Rejection> {
        match model.lacks(&self.facts.needs) {
            Some(lack @ UnmetRequirement::Api(_)) => Err(Rejection::model_cannot(model.name.as_str(), lack)),
            _ => Ok(Decision {
                model,
                policy,
                classification: None,
                class,
                reason,
                next: Vec::new(),
                alternative: None,
                comparison: None,
            }),
        }
    }
}

fn by_rule(reject: &Reject) -> Rejection {
    Rejection::by_policy(reject.status, &reject.message)
}

fn by_default<'p>(
    policy: &'p Arc<Policy>,
    classification: Option<&'p Classification>,
    reason: Reason,
    message: usize,
    steps: &mut Steps<'p>,
) -> Candidate<'p> {
    steps.push(Step::Default(&policy.default));
    Candidate { target: &policy.default, policy: Some(policy), classification, reason, message }
}

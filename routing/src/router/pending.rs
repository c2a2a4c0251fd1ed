//! A request whose decision may depend on predictions, and the known predictions.

use std::sync::{Arc, OnceLock};

use crate::classification::Prediction;
use crate::config::{Classifier, Mode, Model, OnFailure, Policy, Residual, Then};
use crate::decision::Reason;
use crate::digest::Digest;
use crate::rejection::Rejection;
use crate::request::Prompt;
use crate::requirements::Requirements;

/// A request that may wait for predictions.
#[derive(Clone, Debug)]
pub struct Pending {
    pub(super) rules: Vec<OpenRule>,
    pub(super) otherwise: Otherwise,
    pub(super) messages: Messages,
    pub(super) facts: Facts,
}

/// A rule that may match.
#[derive(Clone, Debug)]
pub(super) struct OpenRule {
    /// Its position from 0.
    pub(super) index: usize,
    /// What predictions must decide; none if it matches.
    pub(super) when: Option<Residual>,
    pub(super) then: Then,
    pub(super) mode: Mode,
}

/// The plan if no rule matches.
#[derive(Clone, Debug)]
pub(super) enum Otherwise {
    /// A model that the client named, or that made the response the request continues.
    Model { model: Arc<Model>, policy: Option<Arc<Policy>>, reason: Reason, class: Option<String> },
    /// A policy, by its classifier.
    Policy(Arc<Policy>),
    /// A policy's default: the request has only a part of the conversation, which its provider stores.
    Default(Arc<Policy>),
    /// The router does not handle the request.
    Passthrough,
    /// The request is rejected.
    Reject(Rejection),
}

/// The user's messages that a decision reads.
#[derive(Clone, Debug)]
pub(super) struct Messages {
    /// Oldest first; the last is the request's own.
    pub(super) all: Vec<Message>,
    /// The number of messages, from the oldest, that decide on the model. Rules that reject read the last one.
    pub(super) deciding: usize,
    /// Whether the last message is classified for comparison if it does not decide.
    pub(super) compare: bool,
}

/// One of the user's messages.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) prompt: Prompt,
    digest: OnceLock<Digest>,
    known: Vec<(Classifier, Known)>,
}

impl Message {
    pub(super) fn new(prompt: Prompt) -> Self {
        Self { prompt, digest: OnceLock::new(), known: Vec::new() }
    }

    pub(super) fn known(&self, classifier: &Classifier) -> Option<&Known> {
        self.known.iter().find(|(other, _)| other == classifier).map(|(_, known)| known)
    }

    /// By a head's name.
    pub(super) fn known_head(&self, name: &str) -> Option<&Known> {
        let is_head = |classifier: &Classifier| matches!(classifier, Classifier::Head(head) if head == name);
        self.known.iter().find(|(classifier, _)| is_head(classifier)).map(|(_, known)| known)
    }
}

/// The result of a requested prediction.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// The classifier was called.
    Fresh(Prediction),
    /// The classifier was called for the same prompt before.
    Cached(Prediction),
    /// No prediction: the classifier is down, late, overloaded, or lacks the head.
    Unavailable,
}

impl Known {
    pub(super) fn prediction(&self) -> Option<&Prediction> {
        match self {
            Self::Fresh(prediction) | Self::Cached(prediction) => Some(prediction),
            Self::Unavailable => None,
        }
    }
}

/// The inputs of a decision apart from the messages.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) needs: Requirements,
    pub(super) threshold: Option<f32>,
    /// The digest that selects one of several weighted models.
    pub(super) conversation: Digest,
    /// Whether other models may take the request if the chosen one fails.
    pub(super) failover: bool,
    pub(super) on_failure: OnFailure,
}

/// Predictions to look up, or to request from the classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The message's position.
    pub(crate) message: usize,
    /// The classifiers. At most one of them uses few-shot examples.
    pub classifiers: Vec<Classifier>,
    /// Further classifiers for the same call, which only candidates read. They alone do not cause a call. Where a call is made, they
    /// are among the classifiers, too.
    pub(crate) for_comparison: Vec<Classifier>,
}

impl Pending {
    /// The prompt of a message.
    pub fn prompt(&self, wanted: &Wanted) -> Option<&Prompt> {
        self.messages.all.get(wanted.message).map(|message| &message.prompt)
    }

    /// The policy that decides, unless a rule does by predictions; none, for example, if the client named a model.
    pub(crate) fn policy(&self) -> Option<&Arc<Policy>> {
        match (self.rules.first().filter(|rule| rule.when.is_none()), &self.otherwise) {
            (Some(OpenRule { then: Then::Policy(policy), .. }), _) | (None, Otherwise::Policy(policy)) => {
                Some(policy)
            }
            _ => None,
        }
    }

    /// The digest of a message's prompt. Computed once, and only where something is cached by it.
    pub(crate) fn digest(&self, wanted: &Wanted) -> Option<Digest> {
        let message = self.messages.all.get(wanted.message)?;
        Some(*message.digest.get_or_init(|| message.prompt.digest()))
    }

    /// Whether a message is the request's own, and not one of an earlier turn.
    pub(crate) fn is_last(&self, wanted: &Wanted) -> bool {
        wanted.message == self.last_message()
    }

    /// The position of the request's own message.
    pub(super) fn last_message(&self) -> usize {
        self.messages.all.len().saturating_sub(1)
    }

    /// Records the result of a requested prediction.
    pub fn learn(&mut self, wanted: &Wanted, classifier: &Classifier, known: Known) {
        if let Some(message) = self.messages.all.get_mut(wanted.message) {
            message.known.push((classifier.clone(), known));
        }
    }
}

//! A request whose decision may depend on predictions, and what is known of them.

use std::sync::{Arc, OnceLock};

use crate::classification::Prediction;
use crate::config::{Classifier, Mode, Model, OnFailure, Policy, Residual, Then};
use crate::decision::Reason;
use crate::digest::Digest;
use crate::rejection::Rejection;
use crate::request::Prompt;
use crate::requirements::Requirements;

/// A request that waits for predictions, or for none any more.
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

/// What holds where no rule matches.
#[derive(Clone, Debug)]
pub(super) enum Otherwise {
    /// A model that the client named, or that made what the request continues.
    Model { model: Arc<Model>, policy: Option<Arc<Policy>>, reason: Reason, class: Option<String> },
    /// A policy, by its classifier.
    Policy(Arc<Policy>),
    /// A policy's default: the prompt is only a part of what its provider keeps.
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
    /// How many of them, from the oldest on, decide on the model. Rules that reject read the last.
    pub(super) deciding: usize,
    /// Whether the last is classified for comparison where it does not decide.
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

/// What is known of a prediction that was wanted.
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

/// What of the request a decision depends on beside its messages.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) needs: Requirements,
    pub(super) threshold: Option<f32>,
    /// By which conversations draw one of several models.
    pub(super) conversation: Digest,
    /// Whether other models may take the request if the chosen one fails.
    pub(super) failover: bool,
    pub(super) on_failure: OnFailure,
}

/// Predictions to look up, or to ask the classifier for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The message's position.
    pub(crate) message: usize,
    /// Whose predictions. Of those with few-shot examples there is one at most.
    pub classifiers: Vec<Classifier>,
    /// Whose predictions a call for the others brings, too: those that only candidates read. By themselves they are no reason
    /// for a call.
    pub(crate) for_comparison: Vec<Classifier>,
}

impl Pending {
    /// The prompt of a message.
    pub fn prompt(&self, wanted: &Wanted) -> Option<&Prompt> {
        self.messages.all.get(wanted.message).map(|message| &message.prompt)
    }

    /// The policy that decides, unless a rule does by predictions; none if the client named a model, say.
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

    /// Takes note of a prediction that was wanted.
    pub fn learn(&mut self, wanted: &Wanted, classifier: &Classifier, known: Known) {
        if let Some(message) = self.messages.all.get_mut(wanted.message) {
            message.known.push((classifier.clone(), known));
        }
    }
}

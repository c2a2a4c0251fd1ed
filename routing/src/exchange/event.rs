//! The recorded events of a request: in metrics, access logs and debug logs.

use std::time::Duration;

use crate::config::{Classifier, Model};
use crate::decision::Decision;
use crate::rejection::Rejection;
use crate::router::Step;
use crate::usage::Usage;

/// Something that happened to a request.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A step on the way to the decision.
    Step(Step<'a>),
    /// The estimated maximum of tokens of the request: those of its prompt and those that it allows for all its completions.
    /// For limits that apply before the request is forwarded.
    Estimated {
        /// Tokens.
        tokens: u64,
    },
    /// The sidecar was called.
    Classified {
        /// The classifiers that were called.
        classifiers: &'a [Classifier],
        /// Whether there is a usable prediction.
        answered: bool,
        /// The time from the call to its end.
        took: Duration,
    },
    /// A model was chosen. In shadow mode the request is forwarded unchanged.
    Routed(&'a Decision),
    /// The router rejects the request. In shadow mode it is forwarded unchanged.
    Rejected(&'a Rejection),
    /// The chosen model failed, and another one responded.
    FailedOver {
        /// The model that failed.
        from: &'a Model,
        /// The decision with the model that responded.
        decision: &'a Decision,
    },
    /// A streamed response has its first content.
    FirstToken {
        /// The model that responds.
        model: &'a Model,
        /// The time since the request was forwarded.
        after: Duration,
    },
    /// The response has ended, and its usage is known.
    Used {
        /// The decision with the model that responded, or in shadow mode with the one that was chosen.
        decision: &'a Decision,
        /// The tokens.
        usage: &'a Usage,
    },
}

/// Receives the events of requests.
pub trait EventSink {
    /// Records an event.
    fn record(&mut self, event: Event<'_>);
}

/// Records nothing.
impl EventSink for () {
    fn record(&mut self, _: Event<'_>) {}
}

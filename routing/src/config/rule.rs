//! Rules: their conditions and outcomes.

use std::sync::Arc;

use super::condition::Condition;
use super::{Mode, Policy, Target};

/// A rule. The first rule that matches decides.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name in metrics: the configured one, or its position.
    pub name: String,
    /// The condition on the request.
    pub when: Condition,
    /// The outcome.
    pub then: Then,
    /// In shadow, a match is only counted.
    pub mode: Mode,
    /// Whether it also applies to requests that name a model or a policy.
    pub always: bool,
}

/// The outcome of a rule.
#[derive(Clone, Debug)]
pub enum Then {
    /// This policy chooses the model, instead of the default policy.
    Policy(Arc<Policy>),
    /// The request goes to this target.
    Target(Target),
    /// The router rejects the request.
    Reject(Arc<Reject>),
}

/// How a rule rejects a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// The error message.
    pub message: String,
}

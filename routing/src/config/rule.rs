//! Rules: what happens to the requests that they match.

use std::sync::Arc;

use super::condition::Condition;
use super::{Mode, Policy, Target};

/// Chooses for the requests that it matches. The first rule that matches counts.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name in metrics: the configured one, or its position.
    pub name: String,
    /// What a request must be like.
    pub when: Condition,
    /// What then happens.
    pub then: Then,
    /// In shadow, a match is only counted.
    pub mode: Mode,
    /// Whether it also holds for requests that name a model or a policy.
    pub always: bool,
}

/// What a rule does with a request.
#[derive(Clone, Debug)]
pub enum Then {
    /// This policy chooses, in place of the default one.
    Policy(Arc<Policy>),
    /// It goes there.
    Target(Target),
    /// It is rejected.
    Reject(Arc<Reject>),
}

/// How a rule rejects a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// The error's message.
    pub message: String,
}

//! The steps of a decision, for explanations.

use crate::classification::Label;
use crate::config::{Model, Name, Policy, Target};
use crate::decision::Comparison;
use crate::request::Prompt;
use crate::requirements::{Requirements, UnmetRequirement};

/// A step on the way to a decision, in the order in which they are taken.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// What the request requires of its model.
    Required(&'a Requirements),
    /// The client names a policy, in this field or header.
    PolicyNamed {
        /// The field or header.
        field: &'a str,
        /// The policy.
        policy: &'a Policy,
    },
    /// The client names a model by hand, in the metadata.
    ManualModel(&'a str),
    /// The body's `model`, and what it means in the configuration; none if it is not configured.
    ModelField {
        /// The name.
        name: &'a str,
        /// Its meaning.
        meaning: Option<&'a Name>,
    },
    /// The body has no `model`.
    NoModelField,
    /// The request sets this threshold.
    Threshold(f32),
    /// A rule was compared, by its position from 0.
    Rule {
        /// Its position in `rules`.
        index: usize,
        /// Whether its condition matches; none if predictions must decide.
        matches: Option<bool>,
    },
    /// The request continues a response or a conversation that a provider stores: with the model that made it, if it is known.
    Continues(Option<&'a Model>),
    /// A prediction was looked up in the cache.
    Lookup {
        /// Whether it was there.
        is_hit: bool,
    },
    /// This policy decides.
    Policy(&'a Policy),
    /// What is classified.
    Prompt(&'a Prompt),
    /// An earlier message of the conversation decides on the model.
    Sticky(&'a Model),
    /// The classifier's label, compared with the minimum confidence.
    Label {
        /// The label.
        label: &'a Label,
        /// The minimum confidence, 0 to 1.
        min_confidence: f32,
        /// Its target; none if the confidence is too low, or the label has no route.
        target: Option<&'a Target>,
    },
    /// The classifier's score.
    Score {
        /// 0 to 1.
        score: f32,
        /// The bound that the request sets between two bands.
        threshold: Option<f32>,
        /// The target of its band.
        target: Option<&'a Target>,
    },
    /// The classifier's result is not of the kind that the policy needs.
    WrongKind,
    /// The classifier gave no result.
    Unavailable,
    /// The policy uses its default.
    Default(&'a Target),
    /// The choice of the policy's candidate.
    Compared(&'a Comparison),
    /// A model does not support the request.
    Unable {
        /// The model.
        model: &'a Model,
        /// What it lacks.
        unmet: UnmetRequirement,
    },
    /// A fallback model takes the request instead.
    Fallback(&'a Model),
    /// No other model takes the request if this one fails: the members that its body edits change are too large to be kept.
    NoFailover {
        /// The chosen model.
        model: &'a Model,
        /// The most bytes that are kept.
        max_bytes: usize,
    },
}

/// Receives the steps.
pub type Trace<'t> = dyn FnMut(Step<'_>) + 't;

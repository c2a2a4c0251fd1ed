//! A step of a decision, as text and as data.

use serde::Serialize;

/// A step, for humans and for programs. As JSON: `{"topic", "text", "kind", …}` with the fields of its kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedStep {
    /// Its topic, such as `rule` or `classifier`.
    pub topic: &'static str,
    /// What happens.
    pub text: String,
    /// The same as data.
    #[serde(flatten)]
    pub detail: Detail,
}

/// The data of a step. Models, policies and rules are named as in the configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Detail {
    /// Headers of the client are removed.
    RemovedHeaders {
        /// Their names.
        names: Vec<String>,
    },
    /// What the request requires of a model.
    Requires {
        /// The API that the client speaks.
        api: String,
        /// The required capabilities.
        capabilities: Vec<String>,
        /// Estimated tokens of the prompt, and those that the client allows for the completion.
        tokens: u64,
    },
    /// The client names a policy.
    PolicyNamed {
        /// In this field or header.
        field: String,
        /// The policy.
        policy: String,
    },
    /// The client names a model in its routing metadata.
    ManualModel {
        /// As the client writes it.
        name: String,
    },
    /// The body has no `model`.
    NoModelField,
    /// The body's `model`.
    ModelField {
        /// As the client writes it.
        name: String,
        /// Whether the configuration has it.
        known: bool,
    },
    /// The request sets the threshold.
    Threshold {
        /// 0 to 1.
        threshold: f32,
    },
    /// A rule was compared.
    Rule {
        /// Its position, from 1.
        number: usize,
        /// Its name in metrics.
        name: String,
        /// Its condition in one line.
        condition: String,
        /// What it does, in one line.
        outcome: String,
        /// Whether it matches; none if predictions must decide.
        matches: Option<bool>,
    },
    /// The request continues a response or conversation that a provider stores.
    Continues {
        /// The model that made it, if that is known.
        model: Option<String>,
    },
    /// A policy decides.
    Policy {
        /// The policy.
        policy: String,
        /// Its classifier.
        classifier: String,
    },
    /// What is classified.
    Prompt {
        /// Its length in characters.
        characters: usize,
    },
    /// An earlier message of the conversation decides.
    Sticky {
        /// The conversation's model.
        model: String,
    },
    /// The predicted label is compared with the policy's routes.
    Label {
        /// The label.
        label: String,
        /// Its probability, 0 to 1.
        confidence: f32,
        /// The minimum probability that the policy or the request accepts, 0 to 1.
        min_confidence: f32,
        /// The models of its route; none if the confidence is too low, or the label has no route.
        models: Option<Vec<String>>,
    },
    /// The predicted score is compared with the policy's bands.
    Score {
        /// 0 to 1.
        score: f32,
        /// The bound that the request sets, if it does.
        threshold: Option<f32>,
        /// The models of its band; none if it has no band.
        models: Option<Vec<String>>,
    },
    /// The prediction is not of the kind that the policy needs.
    WrongKind,
    /// There is no prediction.
    Unavailable,
    /// The policy uses its default.
    Default {
        /// Its models.
        models: Vec<String>,
    },
    /// A model does not support the request.
    Unable {
        /// The model.
        model: String,
        /// What it does not support.
        unmet: String,
    },
    /// A fallback model takes the request instead.
    Fallback {
        /// The model.
        model: String,
    },
    /// The policy has a candidate, which is compared with it.
    Compared {
        /// The candidate.
        candidate: String,
        /// The model that it would choose; none if it would choose none.
        model: Option<String>,
    },
    /// The outcome of the request.
    Outcome,
    /// A header of the request is set.
    SetHeader {
        /// Its name, in lower case.
        name: String,
        /// Its value.
        value: String,
    },
    /// The model edits the body.
    EditedBody {
        /// The members that change.
        members: Vec<String>,
    },
    /// The models that follow if the chosen one fails.
    Retries {
        /// Best first; none if the request cannot go to another model.
        models: Vec<String>,
    },
    /// A note of the tool, in addition to the decision.
    Note,
}

//! A routing policy, validated once into types that cannot be wrong.

mod classifier;
mod condition;
mod model;
mod policy;
mod raw;
mod resolve;
mod rule;
#[cfg(feature = "schema")]
mod schema;
mod unique;
mod units;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

pub use classifier::{Classifier, Examples};
pub use condition::{
    AttributeTest, Condition, HeadCondition, HeadTest, MatchInput, RequestCondition, Residual,
};
pub use model::{Cost, Model};
pub use policy::{Band, Bands, Policy, Strategy, Target, Weighted};
pub use resolve::ConfigError;
pub use rule::{Reject, Rule, Then};

use crate::context::ContextKeys;
use crate::headers::{self, OWN_PREFIX};
use crate::request::PromptSettings;
use crate::rewrite::growth;
use crate::usage::Usage;

/// The policy as it is used at request time: every name in it is resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// How the sidecar is asked.
    pub sidecar: Sidecar,
    /// The request header that Envoy's `cluster_header` route reads; lower case.
    pub cluster_header: String,
    /// The request header that carries the name under which the model's provider knows it; lower case.
    pub model_header: Option<String>,
    /// Bounds on what is read of a request.
    pub limits: Limits,
    /// The policy of a request that names none.
    pub default_policy: Arc<Policy>,
    /// What to do with a `model` that is not configured.
    pub on_unknown_model: OnUnknownModel,
    /// Whether decisions are carried out.
    pub mode: Mode,
    /// Choose before the default policy; the first match counts.
    pub rules: Vec<Rule>,
    /// Whether access logs are told of decisions by Envoy's filter state.
    pub filter_state: bool,
    /// Whether Envoy's retries go to the policy's next model.
    pub failover: bool,
    /// How classifications are remembered; none if they are not.
    pub cache: Option<CacheConfig>,
    /// How conversations are kept with their model; none if they are not.
    pub stickiness: Option<Stickiness>,
    /// What identifies a conversation, best first.
    pub identity: Vec<IdentitySource>,
    /// What to do with a request that continues a response of an unknown model.
    pub on_unknown_response: OnUnknownResponse,
    /// What is classified of a request.
    pub prompt: PromptSettings,
    /// What the conditions of rules read of what Envoy knows of a request: all that hosts have to find out.
    pub context_keys: ContextKeys,
    /// The names of all classifiers that policies and rules ask, in order.
    classifiers: Vec<String>,
    names: HashMap<String, Name>,
    policies: BTreeMap<String, Arc<Policy>>,
    models: BTreeMap<String, Arc<Model>>,
}

impl Config {
    /// Reads and validates a configuration in JSON, which is what Envoy makes of the filter's YAML.
    ///
    /// # Errors
    /// [`ConfigError`] names the path of the field at fault and the fix.
    pub fn from_json(json: &[u8]) -> Result<Self, ConfigError> {
        resolve::resolve(raw::Config::from_json(json)?)
    }

    /// The JSON schema of what [`Config::from_json`] reads. Its `$id` names the release: patch releases share it.
    #[cfg(feature = "schema")]
    pub fn json_schema() -> serde_json::Value {
        schema::with_id(schemars::schema_for!(raw::Config))
    }

    /// Whether a request header belongs to the router. A client's own is removed, so that it misleads neither Envoy's routes nor
    /// an LLM. `name` is lower case, as Envoy presents it.
    pub fn owns_header(&self, name: &str) -> bool {
        name.starts_with(OWN_PREFIX)
            || name == self.cluster_header
            || self.model_header.as_deref().is_some_and(|header| name == header)
    }

    /// Whether Envoy may have chosen a request's route by this header although clients must not send it. `name` is lower case.
    ///
    /// Envoy's routes are not known here, and may match any of the router's headers. Only the policy's name is the client's to
    /// choose.
    pub(crate) fn may_choose_route(&self, name: &str) -> bool {
        name != headers::POLICY && self.owns_header(name)
    }

    /// What a body's `model` stands for, if it is configured.
    pub fn name(&self, name: &str) -> Option<&Name> {
        self.names.get(name)
    }

    /// The policy of this name.
    pub fn policy(&self, name: &str) -> Option<&Arc<Policy>> {
        self.policies.get(name)
    }

    /// The model of this name.
    pub fn model(&self, name: &str) -> Option<&Arc<Model>> {
        self.models.get(name)
    }

    /// The classifiers among those that the configuration asks.
    pub(crate) fn classifier_set(&self, classifiers: &[Classifier]) -> ClassifierSet {
        let bit = |name: &str| self.classifiers.iter().position(|it| it == name).filter(|index| *index < 64);
        let bits = classifiers.iter().filter_map(|classifier| bit(classifier.as_str()));
        ClassifierSet(bits.fold(0, |set, index| set | 1 << index))
    }

    /// The names of a set, joined by `+`.
    pub(crate) fn classifier_names(&self, set: ClassifierSet) -> String {
        let named = self.classifiers.iter().take(64).enumerate();
        let named = named.filter(|(index, _)| set.0 & (1 << index) != 0).map(|(_, name)| name.as_str());
        named.collect::<Vec<_>>().join("+")
    }

    /// How many bytes longer a body can become by its rewriting, for any of the models.
    pub fn body_growth(&self) -> usize {
        self.models().map(|model| growth(&model.upstream, &model.body)).max().unwrap_or(0)
    }

    /// What a request that took these tokens of a model would have cost on the model where it costs most, in dollars; none if
    /// no model has a price.
    pub fn max_cost(&self, model: &Model, usage: &Usage) -> Option<f64> {
        self.models().filter_map(|other| other.cost_in_place_of(model, usage)).max_by(f64::total_cmp)
    }

    /// Whether a decision can depend on the conversation that a request belongs to.
    pub(crate) fn needs_conversation_key(&self) -> bool {
        let by_rule = self.rules.iter().any(|rule| matches!(rule.then, Then::Target(Target::Weighted(_))));
        by_rule || self.policies().any(|policy| policy.is_weighted())
    }

    /// The labels, of a head, whose probabilities conditions compare.
    pub(crate) fn compared_labels(&self, head: &str) -> impl Iterator<Item = &str> {
        let heads = self.rules.iter().flat_map(|rule| rule.when.heads()).filter(move |it| it.head == head);
        heads
            .flat_map(|condition| match &condition.test {
                HeadTest::Labels(_) => [].as_slice(),
                HeadTest::Range { of, .. } => of.as_slice(),
            })
            .map(String::as_str)
    }

    /// All policies, in the order of their names.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values()
    }

    /// All models, in the order of their names.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// The model of an id that is this configuration's.
    pub fn model_by_id(&self, id: ModelId) -> Option<&Arc<Model>> {
        self.models().nth(usize::try_from(id.0).ok()?)
    }

    /// The policy of an id that is this configuration's.
    pub fn policy_by_id(&self, id: PolicyId) -> Option<&Arc<Policy>> {
        self.policies().nth(usize::try_from(id.0).ok()?)
    }

    /// The aliases with their models, in no order.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &Arc<Model>)> {
        self.names.iter().filter_map(|(name, meaning)| match meaning {
            Name::Alias(model) => Some((name.as_str(), model)),
            _ => None,
        })
    }
}

/// What a client's `model` can stand for.
#[derive(Clone, Debug)]
pub enum Name {
    /// `"auto"`: the default policy decides.
    Auto,
    /// A policy decides.
    Policy(Arc<Policy>),
    /// This model, by its configured name.
    Model(Arc<Model>),
    /// This model, by a name that clients already send.
    Alias(Arc<Model>),
}

/// The `model` that asks for the default policy.
pub const AUTO: &str = "auto";

/// How the sidecar is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// Its Envoy cluster.
    pub cluster: String,
    /// The longest that a request waits for it.
    pub timeout: Duration,
    /// What to do when it does not answer.
    pub on_failure: OnFailure,
}

/// What to do when the sidecar does not answer in time, or not usably.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnFailure {
    /// Take the policy's default model; the reason is then `classifier_unavailable`.
    #[default]
    Default,
    /// Respond with 503, with an error in the shape of the client's API.
    Reject,
}

/// Whether decisions are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Mode {
    /// Requests go where the policy sends them.
    #[default]
    Enforce,
    /// Requests stay as the client sent them; headers, stats and logs tell what would have been.
    Shadow,
}

impl Mode {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
        }
    }
}

/// Bounds of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// The most entries.
    pub entries: NonZeroUsize,
    /// How long an entry holds.
    pub ttl: Duration,
}

/// How conversations are kept with their model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stickiness {
    /// Which of the user's messages decide.
    pub mode: StickinessMode,
    /// How predictions for earlier messages are remembered. Only work is saved by that: decisions are the same without.
    pub memory: CacheConfig,
    /// Whether the last message is classified where an earlier one decides.
    pub compare: bool,
}

/// Which of the user's messages decide on the model of a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum StickinessMode {
    /// The first.
    #[default]
    First,
    /// Each, and the strongest model that one of them needs is taken: by the policy's bands, or by price.
    Strongest,
}

/// What identifies a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentitySource {
    /// The value of this header, lower case.
    Header(String),
    /// The value of this field of the body.
    Body(String),
    /// How the conversation begins.
    Fingerprint,
}

/// What to do with a request that continues a response which is not known here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnUnknownResponse {
    /// Answer 400: another provider does not have what was said before.
    #[default]
    Reject,
    /// Choose as for any other request.
    Route,
}

/// What to do with a `model` that is not configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnUnknownModel {
    /// Choose as for `auto`: by the rules, then the default policy.
    #[default]
    Route,
    /// Respond with 404, with an error in the shape of the client's API.
    Reject,
    /// Leave the request as it is, but without `nim-llm-router`; Envoy's own routes decide.
    Passthrough,
}

/// Bounds on what is read of a request, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Larger bodies are rejected.
    pub max_body: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name(pub(crate) u32);
    };
}

id! {
    /// A model by its position among a configuration's models: a small key where the name would be compared.
    ModelId
}
id! {
    /// A policy by its position among a configuration's policies.
    PolicyId
}

/// Classifiers of a configuration that are asked in one call, as a small key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClassifierSet(u64);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as it is written in the configuration.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<T: Into<String>> From<T> for $name {
            fn from(name: T) -> Self {
                Self(name.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A configured model's name; printable, so that it fits a header.
    ModelName
}
name! {
    /// A configured policy's name; printable, so that it fits a header.
    PolicyName
}

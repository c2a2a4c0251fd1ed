//! The routing policy, validated once into types without invalid states.

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

/// The policy as the router uses it: every name in it is resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// How the router calls the sidecar.
    pub sidecar: Sidecar,
    /// The request header that Envoy's `cluster_header` route reads; lower case.
    pub cluster_header: String,
    /// The request header with the name that the provider uses for the model; lower case.
    pub model_header: Option<String>,
    /// Limits on the size of a request.
    pub limits: Limits,
    /// The policy for requests that name no policy.
    pub default_policy: Arc<Policy>,
    /// What to do with a `model` that is not configured.
    pub on_unknown_model: OnUnknownModel,
    /// Whether decisions are applied.
    pub mode: Mode,
    /// Rules that come before the default policy; the first match decides.
    pub rules: Vec<Rule>,
    /// Whether decisions are recorded in Envoy's filter state, for access logs.
    pub filter_state: bool,
    /// Whether Envoy's retries go to the policy's next model.
    pub failover: bool,
    /// How predictions are cached; `None` without a cache.
    pub cache: Option<CacheConfig>,
    /// How conversations keep their model; `None` if they do not.
    pub stickiness: Option<Stickiness>,
    /// What identifies a conversation, best first.
    pub identity: Vec<IdentitySource>,
    /// What to do with a request that continues an unknown response.
    pub on_unknown_response: OnUnknownResponse,
    /// Which text of a request is classified.
    pub prompt: PromptSettings,
    /// The attributes and metadata of Envoy that rules compare, which hosts have to provide.
    pub context_keys: ContextKeys,
    /// The names of all classifiers that policies and rules use, in order.
    classifiers: Vec<String>,
    names: HashMap<String, Name>,
    policies: BTreeMap<String, Arc<Policy>>,
    models: BTreeMap<String, Arc<Model>>,
}

impl Config {
    /// Parses and validates a configuration in JSON, the format to which Envoy converts the filter's YAML.
    ///
    /// # Errors
    /// [`ConfigError`] names the path of the invalid field and the fix.
    pub fn from_json(json: &[u8]) -> Result<Self, ConfigError> {
        resolve::resolve(raw::Config::from_json(json)?)
    }

    /// The JSON schema of the input of [`Config::from_json`]. Its `$id` names the release: patch releases share it.
    #[cfg(feature = "schema")]
    pub fn json_schema() -> serde_json::Value {
        schema::with_id(schemars::schema_for!(raw::Config))
    }

    /// Whether a request header is reserved for the router. The router removes it from clients' requests, so that it misleads neither
    /// Envoy's routes nor an LLM. `name` is lower case, as Envoy presents it.
    pub fn owns_header(&self, name: &str) -> bool {
        name.starts_with(OWN_PREFIX)
            || name == self.cluster_header
            || self.model_header.as_deref().is_some_and(|header| name == header)
    }

    /// Whether Envoy may have chosen a request's route by this header although clients must not send it. `name` is lower case.
    ///
    /// Envoy's routes are unknown here and may match any of the router's headers. Clients may send only the policy's name.
    pub(crate) fn may_choose_route(&self, name: &str) -> bool {
        name != headers::POLICY && self.owns_header(name)
    }

    /// What a body's `model` refers to, if it is configured.
    pub fn name(&self, name: &str) -> Option<&Name> {
        self.names.get(name)
    }

    /// The policy with this name.
    pub fn policy(&self, name: &str) -> Option<&Arc<Policy>> {
        self.policies.get(name)
    }

    /// The model with this name.
    pub fn model(&self, name: &str) -> Option<&Arc<Model>> {
        self.models.get(name)
    }

    /// These classifiers as a set; those that the configuration does not use are left out.
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

    /// The maximum number of bytes that rewriting can add to a body, for any of the models.
    pub fn body_growth(&self) -> usize {
        self.models().map(|model| growth(&model.upstream, &model.body)).max().unwrap_or(0)
    }

    /// The cost in dollars of a request with this usage on the most expensive model; `None` if no model has a price.
    pub fn max_cost(&self, model: &Model, usage: &Usage) -> Option<f64> {
        self.models().filter_map(|other| other.cost_in_place_of(model, usage)).max_by(f64::total_cmp)
    }

    /// Whether a decision can depend on the conversation that a request belongs to.
    pub(crate) fn needs_conversation_key(&self) -> bool {
        let by_rule = self.rules.iter().any(|rule| matches!(rule.then, Then::Target(Target::Weighted(_))));
        by_rule || self.policies().any(|policy| policy.is_weighted())
    }

    /// The labels of a head whose probabilities conditions compare.
    pub(crate) fn compared_labels(&self, head: &str) -> impl Iterator<Item = &str> {
        let heads = self.rules.iter().flat_map(|rule| rule.when.heads()).filter(move |it| it.head == head);
        heads
            .flat_map(|condition| match &condition.test {
                HeadTest::Labels(_) => [].as_slice(),
                HeadTest::Range { of, .. } => of.as_slice(),
            })
            .map(String::as_str)
    }

    /// All policies, sorted by name.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values()
    }

    /// All models, sorted by name.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// The model with this id, which must come from this configuration.
    pub fn model_by_id(&self, id: ModelId) -> Option<&Arc<Model>> {
        self.models().nth(usize::try_from(id.0).ok()?)
    }

    /// The policy with this id, which must come from this configuration.
    pub fn policy_by_id(&self, id: PolicyId) -> Option<&Arc<Policy>> {
        self.policies().nth(usize::try_from(id.0).ok()?)
    }

    /// The aliases with their models, in no particular order.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &Arc<Model>)> {
        self.names.iter().filter_map(|(name, meaning)| match meaning {
            Name::Alias(model) => Some((name.as_str(), model)),
            _ => None,
        })
    }
}

/// What a client's `model` can refer to.
#[derive(Clone, Debug)]
pub enum Name {
    /// `"auto"`: the rules and the default policy decide.
    Auto,
    /// A policy.
    Policy(Arc<Policy>),
    /// A model, by its configured name.
    Model(Arc<Model>),
    /// A model, by an alias.
    Alias(Arc<Model>),
}

/// The `model` that selects the default policy.
pub const AUTO: &str = "auto";

/// How the router calls the sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// Its Envoy cluster.
    pub cluster: String,
    /// The maximum time that a request waits for the sidecar.
    pub timeout: Duration,
    /// What to do when the sidecar returns no prediction.
    pub on_failure: OnFailure,
}

/// What to do when the sidecar returns no usable prediction in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnFailure {
    /// Use the policy's default target, with the reason `classifier_unavailable`.
    #[default]
    Default,
    /// Reject the request with 503, in the format of the client's API.
    Reject,
}

/// Whether decisions are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Mode {
    /// The router sends requests to the chosen models.
    #[default]
    Enforce,
    /// Requests stay as the client sent them. Response headers, metrics and logs report the decision.
    Shadow,
}

impl Mode {
    /// The name in the configuration.
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
    /// The maximum number of entries.
    pub entries: NonZeroUsize,
    /// How long an entry is valid.
    pub ttl: Duration,
}

/// How conversations keep their model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stickiness {
    /// Which of the user's messages decide.
    pub mode: StickinessMode,
    /// How predictions for earlier messages are cached. The cache saves calls; decisions are the same without it.
    pub memory: CacheConfig,
    /// Whether the last message is also classified if an earlier one decides.
    pub compare: bool,
}

/// Which of the user's messages determine the model of a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum StickinessMode {
    /// The first message.
    #[default]
    First,
    /// All messages: the strongest model that one of them needs, by the policy's bands or by price.
    Strongest,
}

/// What identifies a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentitySource {
    /// The value of this header, lower case.
    Header(String),
    /// The value of this field of the body.
    Body(String),
    /// The beginning of the conversation.
    Fingerprint,
}

/// What to do with a request that continues a response which this router does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnUnknownResponse {
    /// Reject the request with 400, because another provider lacks the earlier messages.
    #[default]
    Reject,
    /// Decide as for any other request.
    Route,
}

/// What to do with a `model` that is not configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnUnknownModel {
    /// Decide as for `auto`: by the rules, then by the default policy.
    #[default]
    Route,
    /// Reject the request with 404, in the format of the client's API.
    Reject,
    /// Leave the request unchanged, except that `nim-llm-router` is removed. Envoy's own routes decide.
    Passthrough,
}

impl OnUnknownModel {
    /// Its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Reject => "reject",
            Self::Passthrough => "passthrough",
        }
    }
}

/// Limits on the size of a request, in bytes.
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
    /// A model's position among a configuration's models: a small key instead of the name.
    ModelId
}
id! {
    /// A policy's position among a configuration's policies.
    PolicyId
}

/// The classifiers of one call to the sidecar, as a small key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClassifierSet(u64);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name in the configuration.
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

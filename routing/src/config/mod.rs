//! A routing policy, validated once into types that cannot be wrong.

mod raw;
mod resolve;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use resolve::ConfigError;

/// The policy as it is used at request time: every name in it is resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// How the sidecar is asked.
    pub sidecar: Sidecar,
    /// The request header that Envoy's `cluster_header` route reads; lower case.
    pub cluster_header: String,
    /// Bounds on what is read of a request.
    pub limits: Limits,
    /// The policy of a request that names none.
    pub default_policy: Arc<Policy>,
    /// What to do with a `model` that is not configured.
    pub on_unknown_model: OnUnknownModel,
    names: HashMap<String, Name>,
    policies: HashMap<String, Arc<Policy>>,
}

impl Config {
    /// Reads and validates a configuration in JSON, which is what Envoy makes of the filter's YAML.
    ///
    /// # Errors
    /// [`ConfigError`] names the path of the field at fault and the fix.
    pub fn from_json(json: &[u8]) -> Result<Self, ConfigError> {
        resolve::resolve(raw::Config::from_json(json)?)
    }

    /// What a body's `model` stands for, if it is configured.
    pub fn name(&self, name: &str) -> Option<&Name> {
        self.names.get(name)
    }

    /// The policy of this name.
    pub fn policy(&self, name: &str) -> Option<&Arc<Policy>> {
        self.policies.get(name)
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

/// An LLM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// The name that policies, clients and metrics use.
    pub name: ModelName,
    /// The Envoy cluster that serves it.
    pub cluster: String,
    /// The value that its API wants in the body's `model`.
    pub upstream: String,
}

/// Sends a prompt to the model that its label asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The name that clients and metrics use.
    pub name: PolicyName,
    /// The sidecar's head whose labels it routes by.
    pub classifier: Classifier,
    /// Below this probability, 0 to 1, the default model is taken.
    pub min_confidence: f32,
    /// The model of each label.
    pub routes: HashMap<String, Arc<Model>>,
    /// The model of all else.
    pub default: Arc<Model>,
}

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

/// What to do when the sidecar does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Take the policy's default model.
    Default,
    /// Answer 503.
    Reject,
}

/// What to do with a `model` that is not configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknownModel {
    /// Let the default policy choose.
    Route,
    /// Answer 404.
    Reject,
    /// Leave the request as it is; Envoy's own routes decide.
    Passthrough,
}

/// Bounds on what is read of a request, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Larger bodies are refused.
    pub max_body: usize,
    /// The most text that the sidecar is sent.
    pub classify_text: usize,
}

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
name! {
    /// The name of one of the sidecar's heads.
    Classifier
}

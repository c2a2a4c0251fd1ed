//! The configuration as it is written; unknown fields are errors here, wrong names in [`super::resolve`].
//!
//! Its doc comments are the reference for users: the JSON schema carries them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

use super::units::{Decimal, Tokens, duration};
use super::{ConfigError, Mode, OnFailure, OnUnknownModel};
use crate::needs::{Api, Capability};

/// The routing policy: what the filter gets as its plugin configuration, and the sidecar as its file in native mode.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(title = "LLM router policy"))]
pub(super) struct Config {
    /// How the sidecar is asked.
    pub(super) sidecar: Sidecar,
    /// The request header that Envoy's `cluster_header` route reads. Lower case.
    #[serde(default = "default_cluster_header")]
    pub(super) cluster_header: String,
    /// Bounds on what is read of a request.
    #[serde(default)]
    pub(super) limits: Limits,
    /// `enforce` routes; `shadow` leaves each request as the client sent it, and only tells what would have been.
    #[serde(default)]
    pub(super) mode: Mode,
    /// The policy of a request that names none.
    pub(super) default_policy: String,
    /// What to do with a `model` that is not configured: `route` it by the default policy, `reject` it with 404, or
    /// `passthrough`, which leaves the request to Envoy's own routes.
    #[serde(default)]
    pub(super) on_unknown_model: OnUnknownModel,
    /// The LLMs, by the names that policies, clients and metrics use.
    pub(super) models: BTreeMap<String, Model>,
    /// Further names for models: what clients already send.
    #[serde(default)]
    pub(super) aliases: BTreeMap<String, String>,
    /// The policies, by name.
    pub(super) policies: BTreeMap<String, Policy>,
    /// Choose for requests that ask for the default policy, before any classifier is asked. The first match counts.
    #[serde(default)]
    pub(super) rules: Vec<Rule>,
    /// Remembers the classifier's answers, in each worker.
    #[serde(default)]
    pub(super) cache: Cache,
    /// Keeps a conversation with its model, in each worker. Off unless it is given.
    #[serde(default)]
    pub(super) stickiness: Option<Stickiness>,
}

/// How the sidecar is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Sidecar {
    /// Its Envoy cluster.
    pub(super) cluster: String,
    /// The longest that a request waits for it, from 1ms to 60s.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub(super) timeout: Duration,
    /// When it does not answer: `default` takes the policy's default model, `reject` answers 503.
    #[serde(default)]
    pub(super) on_failure: OnFailure,
}

/// Bounds on what is read of a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Limits {
    /// Larger bodies are refused with 413. From 1KiB to 256MiB; Envoy's own buffer limits must allow as much.
    #[cfg_attr(feature = "schema", schemars(with = "Size"))]
    pub(super) max_body: ByteSize,
    /// The most text that a classifier reads; of longer texts, head and tail. From 256B to 1MiB.
    #[cfg_attr(feature = "schema", schemars(with = "Size"))]
    pub(super) classify_text: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_body: ByteSize::mib(8), classify_text: ByteSize::kib(16) }
    }
}

/// An LLM.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Model {
    /// The Envoy cluster that serves it.
    pub(super) cluster: String,
    /// The value that its API wants in the body's `model`.
    pub(super) model: String,
    /// The shape of requests that it takes. Nothing is translated.
    #[serde(default)]
    pub(super) api: Api,
    /// What it can do. A request that needs more goes to the policy's next best model. Not given: nothing is checked.
    pub(super) capabilities: Option<Vec<Capability>>,
    /// The most tokens that it takes, prompt and answer together, like `128k`. Prompts are estimated at 4 bytes a token.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Count>"))]
    pub(super) context: Option<Tokens>,
    /// Its prices, in dollars for a million tokens.
    pub(super) cost: Option<Cost>,
    /// Stands in place of `/v1` in the path, for providers that have it elsewhere: `/openai/v1`.
    pub(super) base_path: Option<String>,
    /// The host name that it is sent.
    pub(super) host: Option<String>,
}

/// Prices in dollars for a million tokens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Cost {
    /// Of the prompt.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    pub(super) input: Decimal,
    /// Of the answer.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    pub(super) output: Decimal,
}

/// Sends a prompt to the model that its classifier asks for. It has either `routes` or `bands`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Policy {
    /// The sidecar's head that it routes by.
    pub(super) classifier: String,
    /// A target for each label. Of a classifier that scores dimensions, the highest is the label.
    pub(super) routes: Option<BTreeMap<String, Target>>,
    /// With `routes`: below this probability, 0 to 1, the default is taken.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f32>"))]
    pub(super) min_confidence: Option<Decimal>,
    /// A target for each range of a score, cheapest first. The last has no `up_to`.
    pub(super) bands: Option<Vec<Band>>,
    /// The target of what has no route, or is not sure enough, or could not be classified. Not given: with `bands`,
    /// the last band's target.
    pub(super) default: Option<Target>,
    /// Who stands in when the chosen model cannot take a request, best first. Not given: the policy's other models,
    /// cheapest first.
    pub(super) fallback: Option<Vec<String>>,
}

/// A range of a score.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Band {
    /// Scores up to this one, itself included.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f32>"))]
    pub(super) up_to: Option<Decimal>,
    /// Where they go.
    pub(super) model: Target,
}

/// A model's name, or several that share the requests.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a model's name, or a list like [{model: a, weight: 90}, {model: b, weight: 10}]"
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) enum Target {
    /// Always this one.
    Model(String),
    /// One of these, by weight; a conversation always gets the same one.
    Weighted(Vec<Weighted>),
}

/// A model's share.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Weighted {
    /// Its name.
    pub(super) model: String,
    /// Its share, relative to the others'.
    pub(super) weight: u32,
}

/// Chooses for the requests that it matches: either a `policy` or a `model`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Rule {
    /// Conditions, all of which must hold.
    pub(super) when: When,
    /// This policy chooses.
    pub(super) policy: Option<String>,
    /// It goes there.
    pub(super) model: Option<Target>,
}

/// Conditions, all of which must hold; at least one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct When {
    /// Headers and their exact values.
    #[serde(default)]
    pub(super) header: BTreeMap<String, String>,
    /// How the path starts.
    pub(super) path_prefix: Option<String>,
    /// A regular expression, found in the text that would be classified. Linear in time: no look-around, no
    /// backreferences.
    pub(super) text_matches: Option<String>,
    /// Whether the request brings tools.
    pub(super) has_tools: Option<bool>,
    /// Whether the request shows images.
    pub(super) has_images: Option<bool>,
    /// At least so many tokens, at 4 bytes a token.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Count>"))]
    pub(super) min_tokens: Option<Tokens>,
    /// At most so many tokens, at 4 bytes a token.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Count>"))]
    pub(super) max_tokens: Option<Tokens>,
}

/// Remembers the classifier's answers, in each worker.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Cache {
    /// The most answers remembered; 0 turns it off.
    pub(super) entries: u32,
    /// How long an answer holds.
    #[serde(deserialize_with = "duration")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub(super) ttl: Duration,
}

impl Default for Cache {
    fn default() -> Self {
        Self { entries: 10_000, ttl: Duration::from_secs(300) }
    }
}

/// Keeps a conversation with its model, in each worker.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Stickiness {
    /// The header that names the conversation. Not given, or not sent: its first user message tells it.
    pub(super) header: Option<String>,
    /// How long after its last request a conversation is remembered.
    #[serde(default = "default_sticky_ttl", deserialize_with = "duration")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub(super) ttl: Duration,
    /// The most conversations remembered.
    #[serde(default = "default_conversations")]
    pub(super) entries: u32,
}

/// A number of bytes, or a text like `8MiB`.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum Size {
    Bytes(u64),
    Text(String),
}

/// A number of tokens, or a text like `128k`.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum Count {
    Tokens(u64),
    Text(String),
}

impl Config {
    pub(super) fn from_json(json: &[u8]) -> Result<Self, ConfigError> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let config: Self = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| ConfigError::new(error.path().to_string(), error.inner().to_string()))?;
        deserializer.end().map_err(|error| ConfigError::new("", error.to_string()))?;
        Ok(config)
    }
}

fn default_cluster_header() -> String {
    "x-llm-cluster".to_owned()
}

fn default_timeout() -> Duration {
    Duration::from_millis(200)
}

fn default_sticky_ttl() -> Duration {
    Duration::from_secs(3600)
}

fn default_conversations() -> u32 {
    10_000
}

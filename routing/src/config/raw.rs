//! The configuration as it is written; unknown fields are errors here, wrong names in [`super::resolve`].
//!
//! Its doc comments are the reference for users: the JSON schema and `docs/configuration.md` carry them.

mod identity;
mod target;
mod when;

use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;
pub(super) use identity::{Given, Identity, Named};
use serde::Deserialize;
use serde_json::Value;
pub(super) use target::{Route, Target};
pub(super) use when::{Condition, Expected, HeadTest, Range, Scalar, When};

#[cfg(feature = "schema")]
use super::schema::{Count, Size, Time};
use super::unique::{unique, unique_if_given};
use super::units::{Decimal, Tokens, duration};
use super::{ConfigError, Mode, OnFailure, OnUnknownModel, OnUnknownResponse, StickinessMode};
use crate::requirements::{Api, Capability};

/// A routing policy: which LLM takes which request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(title = "LLM router policy"))]
pub(super) struct Config {
    /// How the sidecar, which classifies prompts, is asked.
    pub(super) sidecar: Sidecar,
    /// The request header that carries the chosen cluster to Envoy's `cluster_header` route. Lower case. A client's
    /// own is removed. A header that means something else is an error: those of HTTP, of credentials and of `identity`, `x-envoy-…`,
    /// `x-forwarded-…`, and `x-llm-…` except `x-llm-cluster` and `x-llm-model`.
    #[serde(default = "default_cluster_header")]
    pub(super) cluster_header: String,
    /// The request header that carries the chosen model's `model` to Envoy's routes, for routes that match it, like those of the
    /// Gateway API Inference Extension: `x-gateway-model-name`. A name as for `cluster_header`. A client's own is removed. Models
    /// still need a `cluster`: those of one cluster share what a provider keeps of conversations. Not given: no such header.
    #[serde(default)]
    pub(super) model_header: Option<String>,
    /// Bounds on what is read of a request.
    #[serde(default)]
    pub(super) limits: Limits,
    /// Whether decisions are carried out.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "enforce")))]
    pub(super) mode: Mode,
    /// Whether decisions are recorded in Envoy's filter state too, for access logs: `wasm.llm_router.model`, `.policy`,
    /// `.reason`, `.label`, `.confidence` and `.score`, and `.rejected`; and for rate limits, `.estimated_tokens` before
    /// the request goes on, and `.tokens`, `.input_tokens` and `.output_tokens` when the answer is complete. Without,
    /// access logs have the response headers, for less work a request. The dynamic module's names have no `wasm.`; the
    /// native mode has no filter state.
    #[serde(default)]
    pub(super) filter_state: bool,
    /// Whether Envoy's retries of a request go to the next model of the policy's `fallback`, if it was a policy that
    /// chose. Needs Envoy 1.39, its routes as in `envoy/failover.yaml`, and our filter: the native mode has none.
    #[serde(default)]
    pub(super) failover: bool,
    /// The policy of requests that name none.
    pub(super) default_policy: String,
    /// What to do with a request whose `model` is not configured.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "route")))]
    pub(super) on_unknown_model: OnUnknownModel,
    /// The LLMs, by the names that policies, clients, response headers and metrics use.
    #[serde(deserialize_with = "unique")]
    pub(super) models: BTreeMap<String, Model>,
    /// Further names for models, like those that clients send already: `gpt-4o: llama-70b`.
    #[serde(default, deserialize_with = "unique")]
    pub(super) aliases: BTreeMap<String, String>,
    /// The policies, by name.
    #[serde(deserialize_with = "unique")]
    pub(super) policies: BTreeMap<String, Policy>,
    /// Choose for requests that name no policy or configured model; with `always` or `reject`, for all. The first that matches
    /// counts.
    #[serde(default)]
    pub(super) rules: Vec<Rule>,
    /// Remembers the classifier's answers.
    #[serde(default)]
    pub(super) cache: Cache,
    /// Keeps conversations with their model. Off unless it is given; `{}` turns it on.
    #[serde(default)]
    pub(super) stickiness: Option<Stickiness>,
    /// What to do with a request that continues a response (`previous_response_id`) which is not known here, where the policy's
    /// models have several clusters.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "reject")))]
    pub(super) on_unknown_response: OnUnknownResponse,
    /// What is classified.
    #[serde(default)]
    pub(super) prompt: Prompt,
}

/// How the sidecar is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Sidecar {
    /// Its Envoy cluster, which must speak HTTP/2.
    pub(super) cluster: String,
    /// The longest that a request waits for it, from 1ms to 60s.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    #[cfg_attr(feature = "schema", schemars(with = "Time", extend("default" = "200ms")))]
    pub(super) timeout: Duration,
    /// What to do when it does not answer in time, or not usably.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "default")))]
    pub(super) on_failure: OnFailure,
}

/// Bounds on what is read of a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Limits {
    /// Larger bodies are rejected with 413. From 1KiB to 256MiB; Envoy's own buffer limits must allow a little more.
    #[cfg_attr(feature = "schema", schemars(with = "Size", extend("default" = "8MiB")))]
    pub(super) max_body: ByteSize,
    /// The most text of a prompt with its context, which the sidecar is sent and `text_matches` sees; of longer texts, head and
    /// tail. From 256B to 1MiB.
    #[cfg_attr(feature = "schema", schemars(with = "Size", extend("default" = "16KiB")))]
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
    #[cfg_attr(feature = "schema", schemars(extend("default" = "openai")))]
    pub(super) api: Api,
    /// What it can do. A policy sends a request that needs more to its next best model. Not given: taken to do all.
    pub(super) capabilities: Option<Vec<Capability>>,
    /// The most tokens that prompt and answer may have together. Prompts are estimated at 4 bytes a token. Not given:
    /// taken to be enough.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Count>"))]
    pub(super) context: Option<Tokens>,
    /// Its prices, for the cost metrics and for the order in which models stand in for others.
    pub(super) cost: Option<Cost>,
    /// Stands in place of `/v1` and what comes before it in the path, for providers that have their API elsewhere:
    /// `/openai/v1`. Not given: the client's own path up to `/v1`, or `/v1` if it has none.
    pub(super) base_path: Option<String>,
    /// The host name (`:authority`) that it is sent. Not given: the client's.
    pub(super) host: Option<String>,
    /// How the request bodies that it gets differ from the client's. So one LLM at several reasoning efforts can be several
    /// models.
    #[serde(default)]
    pub(super) body: BodyEdits,
}

/// Changes of a request body's members. A key names a member (`reasoning_effort`), or a member of a member
/// (`chat_template_kwargs.enable_thinking`). Each key comes once. The model, the routing field and the prompt
/// (`messages`, `input`, `prompt`) cannot be changed. 16 KiB at most.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct BodyEdits {
    /// Members that get these values, whatever the client sends. Where a member of a member is set, the outer one is made
    /// if it is missing, and replaced if it is not an object.
    #[serde(deserialize_with = "unique")]
    pub(super) set: BTreeMap<String, Value>,
    /// Members that get these values where the client sends none, or null.
    #[serde(deserialize_with = "unique")]
    pub(super) default: BTreeMap<String, Value>,
    /// Members that are removed.
    pub(super) remove: Vec<String>,
}

/// Prices in dollars for a million tokens, as providers list them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Cost {
    /// Tokens of the prompt.
    #[cfg_attr(feature = "schema", schemars(with = "f64", range(min = 0.0)))]
    pub(super) input: Decimal,
    /// Tokens of the prompt that come from the provider's cache. Not given: as `input`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>", range(min = 0.0)))]
    pub(super) cached_input: Option<Decimal>,
    /// Tokens of the answer.
    #[cfg_attr(feature = "schema", schemars(with = "f64", range(min = 0.0)))]
    pub(super) output: Decimal,
}

/// Sends a prompt to the model that its classifier asks for. It has either `routes` or `bands`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Policy {
    /// The head of the sidecar's model that it routes by, such as `task` or `complexity`; or `examples`: the label is
    /// that of the route whose examples are most similar to the prompt.
    pub(super) classifier: String,
    /// A target for each label of the classifier. Of one that scores dimensions, the highest is the label.
    #[serde(default, deserialize_with = "unique_if_given")]
    pub(super) routes: Option<BTreeMap<String, Route>>,
    /// With `routes`: when the label's probability is below this, 0 to 1, the default is taken. With `examples`, it is
    /// the similarity, 0 to 1. Not given: 0.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f32>", range(min = 0.0, max = 1.0)))]
    pub(super) min_confidence: Option<Decimal>,
    /// A target for each range of the classifier's score, lowest first. The last has no `up_to`.
    pub(super) bands: Option<Vec<Band>>,
    /// The target of what has no route, is not sure enough, has no text, or could not be classified. Must be given
    /// with `routes`. Not given with `bands`: the last band's target.
    pub(super) default: Option<Target>,
    /// The models that stand in when the chosen one cannot take a request, best first. Not given: the policy's own,
    /// cheapest first by input and output price together, those without a price last.
    pub(super) fallback: Option<Vec<String>>,
    /// Further class names for manual routing, and the model that each selects: `{Few-Shot: llama-70b}`. They take
    /// precedence over the labels of `routes`. The classifier does not use them.
    #[serde(default, deserialize_with = "unique")]
    pub(super) classes: BTreeMap<String, String>,
    /// Another policy, to compare with this one before it takes its place: each decision of this policy is counted together with
    /// the model that the candidate would have chosen, and with what that would have cost. The sidecar predicts for both in one
    /// call, and nothing of what the candidate says is carried out.
    pub(super) candidate: Option<String>,
}

/// A range of scores.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Band {
    /// Scores up to this one, 0 to 1, itself included. Not given, in the last band only: all that are left.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f32>", range(min = 0.0, max = 1.0)))]
    pub(super) up_to: Option<Decimal>,
    /// Where they go.
    pub(super) model: Target,
}

/// What happens to the requests that it matches: a `policy` or a `model` is chosen, or they are rejected.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Rule {
    /// Its name in metrics. Not given: its position, from 1.
    pub(super) name: Option<String>,
    /// What a request must be like.
    pub(super) when: When,
    /// This policy chooses.
    pub(super) policy: Option<String>,
    /// The request goes there. Declared capabilities are not held against it.
    pub(super) model: Option<Target>,
    /// The request is rejected.
    pub(super) reject: Option<Reject>,
    /// Whether it also holds for requests that name a model, an alias or a policy. Not given: `true` with `reject`, else
    /// `false`.
    pub(super) always: Option<bool>,
    /// In `shadow`, a match is only counted, and the rules after it decide.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "enforce")))]
    pub(super) mode: Mode,
}

/// How a request is rejected.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Reject {
    /// The HTTP status, 400 to 599.
    #[serde(default = "default_reject_status")]
    #[cfg_attr(feature = "schema", schemars(range(min = 400, max = 599)))]
    pub(super) status: u16,
    /// The message of the error that the client gets, in its API's format.
    pub(super) message: String,
}

/// What is classified of a request: the user's last message, without what coding agents add. In each list, `known_agents`
/// stands for the list that we keep of today's agents (docs/coding-agents.md).
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Prompt {
    /// How many earlier messages of the user go with it as context, 0 to 2.
    #[cfg_attr(feature = "schema", schemars(range(max = 2)))]
    pub(super) context_messages: u8,
    /// Elements that agents add, by name: `<NAME>…</NAME>` at the start of a line is left out.
    pub(super) remove_elements: Vec<String>,
    /// Elements that hold the user's words: in a message with one, only what is in them counts.
    pub(super) user_elements: Vec<String>,
    /// How texts begin that agents write; they are left out. `*` stands for anything within a line.
    pub(super) agent_texts: Vec<String>,
    /// How results of tools begin in user messages: they are left out, and all that follows in the message. `*` as above.
    pub(super) tool_results: Vec<String>,
}

impl Default for Prompt {
    fn default() -> Self {
        let known = || vec![KNOWN_AGENTS.to_owned()];
        Self {
            context_messages: 2,
            remove_elements: known(),
            user_elements: known(),
            agent_texts: known(),
            tool_results: known(),
        }
    }
}

/// Stands for our list of what the coding agents of today do.
pub(super) const KNOWN_AGENTS: &str = "known_agents";

/// Remembers the classifier's answers; in the Wasm filter, each of Envoy's workers for itself, in the dynamic module all together.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Cache {
    /// The most answers remembered, up to 1000000; 0 turns it off. Each takes about 200 bytes.
    #[cfg_attr(feature = "schema", schemars(range(max = 1_000_000)))]
    pub(super) entries: u32,
    /// How long an answer holds, from 1s to 24h.
    #[serde(deserialize_with = "duration")]
    #[cfg_attr(feature = "schema", schemars(with = "Time", extend("default" = "5m")))]
    pub(super) ttl: Duration,
}

impl Default for Cache {
    fn default() -> Self {
        Self { entries: 10_000, ttl: Duration::from_secs(300) }
    }
}

/// Keeps conversations with their model: by what the request resends of them, so alike on all workers and replicas.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Stickiness {
    /// Which of the user's messages decide.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "first")))]
    pub(super) mode: StickinessMode,
    /// The header that names the conversation, in lower case: short for an `identity` that begins with it.
    pub(super) header: Option<String>,
    /// What identifies the conversation, best first: which of several weighted models it draws. Not given: `header`,
    /// `known_agents`, `fingerprint`.
    pub(super) identity: Option<Vec<Identity>>,
    /// How long the prediction for an earlier message is remembered after its last use, from 1s to 24h.
    #[serde(default = "default_sticky_ttl", deserialize_with = "duration")]
    #[cfg_attr(feature = "schema", schemars(with = "Time", extend("default" = "1h")))]
    pub(super) ttl: Duration,
    /// The most predictions remembered for it, up to 1000000; 0 turns stickiness off.
    #[serde(default = "default_conversations")]
    #[cfg_attr(feature = "schema", schemars(range(max = 1_000_000)))]
    pub(super) entries: u32,
    /// Whether the last message is classified, too, where an earlier one decides: for the metric of what a switch would have
    /// cost. One more call for each of the user's messages.
    #[serde(default)]
    pub(super) compare: bool,
}

impl Config {
    pub(super) fn from_json(json: &[u8]) -> Result<Self, ConfigError> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let config = serde_path_to_error::deserialize(&mut deserializer).map_err(ConfigError::from_json)?;
        deserializer.end().map_err(|error| ConfigError::new("", error.to_string()))?;
        Ok(config)
    }
}

fn default_cluster_header() -> String {
    "x-llm-cluster".to_owned()
}

fn default_reject_status() -> u16 {
    403
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

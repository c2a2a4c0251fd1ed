//! The configuration as users write it. Unknown fields are errors here, unknown names in [`super::resolve`].
//!
//! The doc comments are the reference for users: they become the JSON schema and `docs/policy-reference.md`.

mod identity;
mod target;
mod when;

use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;
pub(super) use identity::{BuiltinIdentity, Identity, IdentityField};
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
    /// How the router calls the sidecar, which classifies prompts.
    pub(super) sidecar: Sidecar,
    /// The request header with the chosen cluster, for Envoy's `cluster_header` route. In lower case. The router removes the
    /// header from clients' requests. Names with another meaning are errors: headers of HTTP, of credentials and of `identity`,
    /// `x-envoy-…`, `x-forwarded-…`, and `x-llm-…` except `x-llm-cluster` and `x-llm-model`.
    #[serde(default = "default_cluster_header")]
    pub(super) cluster_header: String,
    /// The request header with the chosen model's `model`, for Envoy routes that match it, such as those of the Gateway API
    /// Inference Extension: `x-gateway-model-name`. The rules for `cluster_header` apply. Models still need a `cluster`: models of
    /// one cluster share the conversations that their provider stores. Omitted: no such header.
    #[serde(default)]
    pub(super) model_header: Option<String>,
    /// Limits on the size of bodies and prompts.
    #[serde(default)]
    pub(super) limits: Limits,
    /// Whether decisions are applied.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "enforce")))]
    pub(super) mode: Mode,
    /// Whether the filter also records decisions in Envoy's filter state. For access logs: `wasm.llm_router.model`, `.policy`,
    /// `.reason`, `.label`, `.confidence`, `.score` and `.rejected`. For rate limits: `.estimated_tokens` before the request
    /// goes on, and `.tokens`, `.input_tokens` and `.output_tokens` when the response is complete. Access logs can read the
    /// response headers instead, which costs less. The dynamic module's names have no `wasm.`; native mode has no filter state.
    #[serde(default)]
    pub(super) filter_state: bool,
    /// Whether Envoy's retries of a request go to the next model of the policy's `fallback`, if a policy chose the model. Needs
    /// Envoy 1.39, routes like those in `envoy/failover.yaml`, and the filter or the module: native mode has no failover.
    #[serde(default)]
    pub(super) failover: bool,
    /// The policy for requests that name no policy.
    pub(super) default_policy: String,
    /// What to do with a request whose `model` is not configured.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "route")))]
    pub(super) on_unknown_model: OnUnknownModel,
    /// The LLMs, by name. Policies, clients, response headers and metrics use these names.
    #[serde(deserialize_with = "unique")]
    pub(super) models: BTreeMap<String, Model>,
    /// Other names for models, such as those that clients already send: `gpt-4o: llama-70b`.
    #[serde(default, deserialize_with = "unique")]
    pub(super) aliases: BTreeMap<String, String>,
    /// The policies, by name.
    #[serde(deserialize_with = "unique")]
    pub(super) policies: BTreeMap<String, Policy>,
    /// Conditions that choose a policy or a model, or reject the request. They apply to requests that name neither a policy nor a
    /// configured model; with `always` or `reject`, to all requests. The first rule that matches decides.
    #[serde(default)]
    pub(super) rules: Vec<Rule>,
    /// Caches the classifier's predictions.
    #[serde(default)]
    pub(super) cache: Cache,
    /// Keeps each conversation on one model. Omitted: off; `{}` turns it on.
    #[serde(default)]
    pub(super) stickiness: Option<Stickiness>,
    /// What to do with a request that continues a response (`previous_response_id`) which this router does not know. Applies
    /// if the policy's models are in several clusters.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "reject")))]
    pub(super) on_unknown_response: OnUnknownResponse,
    /// Which text of a request is classified.
    #[serde(default)]
    pub(super) prompt: Prompt,
}

/// How the router calls the sidecar.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Sidecar {
    /// The sidecar's Envoy cluster, which must speak HTTP/2.
    pub(super) cluster: String,
    /// The longest time that a request waits for the sidecar, from 1ms to 60s.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    #[cfg_attr(feature = "schema", schemars(with = "Time", extend("default" = "200ms")))]
    pub(super) timeout: Duration,
    /// What to do when the sidecar returns no usable prediction in time.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "default")))]
    pub(super) on_failure: OnFailure,
}

/// Limits on the size of bodies and prompts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Limits {
    /// The router rejects larger bodies with 413. From 1KiB to 256MiB; Envoy's own buffer limits must be a little higher.
    #[cfg_attr(feature = "schema", schemars(with = "Size", extend("default" = "8MiB")))]
    pub(super) max_body: ByteSize,
    /// The most text of a prompt and its context that the sidecar receives and `text_matches` searches. The router keeps the
    /// beginning and the end of longer text. From 256B to 1MiB.
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
    /// The Envoy cluster that serves the model.
    pub(super) cluster: String,
    /// The value of `model` in the request body that the LLM gets.
    pub(super) model: String,
    /// The API that the model speaks. The router does not translate between APIs.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "openai")))]
    pub(super) api: Api,
    /// What the model can do. A policy sends a request that needs more to its next fallback model. Omitted: everything.
    pub(super) capabilities: Option<Vec<Capability>>,
    /// The most tokens of prompt and completion together. The router estimates prompts at 4 bytes per token. Omitted: no
    /// limit.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Count>"))]
    pub(super) context: Option<Tokens>,
    /// The prices, for the cost metrics and for the default order of fallback models.
    pub(super) cost: Option<Cost>,
    /// Replaces the path up to and including `/v1`, for providers with another path: `/openai/v1`. Omitted: the client's path up to
    /// `/v1`, or `/v1` if the path has none.
    pub(super) base_path: Option<String>,
    /// The host name (`:authority`) of the requests that the model gets. Omitted: the client's.
    pub(super) host: Option<String>,
    /// Edits of the request bodies that the model gets. With them, one LLM can be several models with different reasoning efforts.
    #[serde(default)]
    pub(super) body: BodyEdits,
}

/// Edits of a request body's members. A key names a member (`reasoning_effort`), or a member of a member
/// (`chat_template_kwargs.enable_thinking`). Each key may occur once. The model, the routing field and the prompt
/// (`messages`, `input`, `prompt`) cannot be edited. 16 KiB at most.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct BodyEdits {
    /// Members that get these values, whatever the client sends. If the outer member of a member is missing, the router creates it;
    /// if it is not an object, the router replaces it.
    #[serde(deserialize_with = "unique")]
    pub(super) set: BTreeMap<String, Value>,
    /// Members that get these values if the client sends no value, or null.
    #[serde(deserialize_with = "unique")]
    pub(super) default: BTreeMap<String, Value>,
    /// Members that the router removes.
    pub(super) remove: Vec<String>,
}

/// Prices in dollars per million tokens, as providers list them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Cost {
    /// The price of prompt tokens.
    #[cfg_attr(feature = "schema", schemars(with = "f64", range(min = 0.0)))]
    pub(super) input: Decimal,
    /// The price of prompt tokens that the provider reads from its cache. Omitted: as `input`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>", range(min = 0.0)))]
    pub(super) cached_input: Option<Decimal>,
    /// The price of completion tokens.
    #[cfg_attr(feature = "schema", schemars(with = "f64", range(min = 0.0)))]
    pub(super) output: Decimal,
}

/// Maps a classifier's predictions to models. A policy has either `routes` or `bands`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Policy {
    /// The classifier head that decides, such as `task` or `complexity`; or `examples`: the route with the examples that are most
    /// similar to the prompt.
    pub(super) classifier: String,
    /// A target for each label of the classifier. For a head with scored dimensions, the highest dimension is the label.
    #[serde(default, deserialize_with = "unique_if_given")]
    pub(super) routes: Option<BTreeMap<String, Route>>,
    /// With `routes`: below this probability of the label, 0 to 1, the policy uses `default`. With `examples`, the number is a
    /// similarity, 0 to 1. Omitted: 0.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f32>", range(min = 0.0, max = 1.0)))]
    pub(super) min_confidence: Option<Decimal>,
    /// A target for each range of the classifier's score, lowest range first. The last band has no `up_to`.
    pub(super) bands: Option<Vec<Band>>,
    /// The target for requests whose label has no route, whose confidence is too low, that have no text, or that could not be
    /// classified. Required with `routes`. Omitted with `bands`: the last band's target.
    pub(super) default: Option<Target>,
    /// The fallback models, best first. The first that can take a request gets it if the chosen model cannot. Omitted: the policy's
    /// own models, cheapest first by the sum of input and output price, models without a price last.
    pub(super) fallback: Option<Vec<String>>,
    /// More class names for manual routing, and the model that each selects: `{Few-Shot: llama-70b}`. They take precedence over
    /// the labels of `routes`. The classifier does not use them.
    #[serde(default, deserialize_with = "unique")]
    pub(super) classes: BTreeMap<String, String>,
    /// Another policy to compare with this one before it replaces it. For each decision of this policy, the router also counts the
    /// model that the candidate would have chosen, and its cost. The sidecar predicts for both in one call. The router never
    /// applies the candidate's decision.
    pub(super) candidate: Option<String>,
}

/// A range of scores.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Band {
    /// The upper bound of the band, 0 to 1, inclusive. Omitted, in the last band only: no upper bound.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f32>", range(min = 0.0, max = 1.0)))]
    pub(super) up_to: Option<Decimal>,
    /// The target for these scores.
    pub(super) model: Target,
}

/// Chooses a `policy` or a `model` for the requests that it matches, or rejects them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Rule {
    /// The rule's name in metrics. Omitted: its position, from 1.
    pub(super) name: Option<String>,
    /// The conditions that a request must meet.
    pub(super) when: When,
    /// The policy that chooses the model.
    pub(super) policy: Option<String>,
    /// The target of the request. The router does not check its capabilities.
    pub(super) model: Option<Target>,
    /// Rejects the request.
    pub(super) reject: Option<Reject>,
    /// Whether the rule also applies to requests that name a model, an alias or a policy. Omitted: `true` with `reject`, else
    /// `false`.
    pub(super) always: Option<bool>,
    /// With `shadow`, the router only counts matches, and later rules decide.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "enforce")))]
    pub(super) mode: Mode,
}

/// The response to a rejected request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Reject {
    /// The HTTP status, 400 to 599.
    #[serde(default = "default_reject_status")]
    #[cfg_attr(feature = "schema", schemars(range(min = 400, max = 599)))]
    pub(super) status: u16,
    /// The error message that the client gets, in the format of its API.
    pub(super) message: String,
}

/// Which text of a request is classified: the user's last message, without text that coding agents add. In each list,
/// `known_agents` means the built-in list for today's agents (docs/coding-agents.md).
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Prompt {
    /// The number of earlier user messages that the sidecar receives as context, 0 to 2.
    #[cfg_attr(feature = "schema", schemars(range(max = 2)))]
    pub(super) context_messages: u8,
    /// Names of elements that agents add. The router leaves out `<NAME>…</NAME>` at the start of a line.
    pub(super) remove_elements: Vec<String>,
    /// Names of elements that contain the user's words. In a message with such an element, only its content counts.
    pub(super) user_elements: Vec<String>,
    /// How agents' own texts begin. The router leaves these texts out. `*` matches anything within a line.
    pub(super) agent_texts: Vec<String>,
    /// How tool results in user messages begin. The router leaves out the result and the rest of the message. `*` as above.
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

/// The name of the built-in lists for today's coding agents.
pub(super) const KNOWN_AGENTS: &str = "known_agents";

/// Caches the classifier's predictions. In the Wasm filter, each Envoy worker has its own cache; in the dynamic module, all workers
/// share one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Cache {
    /// The most predictions in the cache, up to 1000000; 0 turns it off. Each takes about 200 bytes.
    #[cfg_attr(feature = "schema", schemars(range(max = 1_000_000)))]
    pub(super) entries: u32,
    /// How long a prediction is valid, from 1s to 24h.
    #[serde(deserialize_with = "duration")]
    #[cfg_attr(feature = "schema", schemars(with = "Time", extend("default" = "5m")))]
    pub(super) ttl: Duration,
}

impl Default for Cache {
    fn default() -> Self {
        Self { entries: 10_000, ttl: Duration::from_secs(300) }
    }
}

/// Keeps each conversation on one model. The decision depends only on the messages in the request, so all workers and replicas make
/// the same one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Stickiness {
    /// Which of the user's messages decide.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "first")))]
    pub(super) mode: StickinessMode,
    /// The header with the conversation's id, in lower case. Short for an `identity` that begins with this header.
    pub(super) header: Option<String>,
    /// What identifies a conversation, best first. The identity determines which of several weighted models it gets. Omitted:
    /// `header`, `known_agents`, `fingerprint`.
    pub(super) identity: Option<Vec<Identity>>,
    /// How long the router caches the prediction for an earlier message after its last use, from 1s to 24h.
    #[serde(default = "default_sticky_ttl", deserialize_with = "duration")]
    #[cfg_attr(feature = "schema", schemars(with = "Time", extend("default" = "1h")))]
    pub(super) ttl: Duration,
    /// The most predictions for earlier messages in the cache, up to 1000000; 0 turns stickiness off.
    #[serde(default = "default_conversations")]
    #[cfg_attr(feature = "schema", schemars(range(max = 1_000_000)))]
    pub(super) entries: u32,
    /// Whether the router also classifies the last message if an earlier one decides, for the metric of what a switch of models
    /// would have cost. Costs one more call for each user message.
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

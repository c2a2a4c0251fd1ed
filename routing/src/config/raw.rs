//! The configuration as it is written; unknown fields are errors here, wrong names in [`super::resolve`].

use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::{ConfigError, OnFailure, OnUnknownModel};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) sidecar: Sidecar,
    #[serde(default = "default_cluster_header")]
    pub(super) cluster_header: String,
    #[serde(default)]
    pub(super) limits: Limits,
    pub(super) default_policy: String,
    #[serde(default = "default_on_unknown_model")]
    pub(super) on_unknown_model: OnUnknownModel,
    pub(super) models: BTreeMap<String, Model>,
    #[serde(default)]
    pub(super) aliases: BTreeMap<String, String>,
    pub(super) policies: BTreeMap<String, Policy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sidecar {
    pub(super) cluster: String,
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub(super) timeout: Duration,
    #[serde(default = "default_on_failure")]
    pub(super) on_failure: OnFailure,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) max_body: ByteSize,
    pub(super) classify_text: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_body: ByteSize::mib(8), classify_text: ByteSize::kib(16) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Model {
    pub(super) cluster: String,
    pub(super) model: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    pub(super) classifier: String,
    #[serde(default)]
    pub(super) min_confidence: Decimal,
    pub(super) routes: BTreeMap<String, String>,
    pub(super) default: String,
}

/// A number with a fraction, like `0.3`. Envoy reads such a number in YAML as text, and only whole ones as numbers.
#[derive(Default, Deserialize)]
#[serde(untagged, expecting = "a number")]
pub(super) enum Decimal {
    #[default]
    Zero,
    Number(f32),
    Text(String),
}

impl Decimal {
    pub(super) fn number(&self) -> Option<f32> {
        match self {
            Self::Zero => Some(0.0),
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
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

fn default_on_failure() -> OnFailure {
    OnFailure::Default
}

fn default_on_unknown_model() -> OnUnknownModel {
    OnUnknownModel::Route
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|error| D::Error::custom(format!("{text:?} is not a duration like \"200ms\": {error}")))
}

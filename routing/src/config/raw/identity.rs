//! What identifies a conversation, as it is written.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// One way to identify a conversation: `known_agents`, `fingerprint`, `{header: NAME}` or `{body: FIELD}`.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(untagged))]
pub(crate) enum Identity {
    /// `known_agents`: the headers and fields by which coding agents name their sessions. `fingerprint`: how the conversation
    /// begins.
    Named(Named),
    /// A header or a field.
    Given(Given),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) enum Named {
    KnownAgents,
    Fingerprint,
}

/// A header or a field of the body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Given {
    /// The header, in lower case.
    pub(crate) header: Option<String>,
    /// A field of the body: `prompt_cache_key`, `conversation`, or a member of `metadata` as in `metadata.thread_id`.
    pub(crate) body: Option<String>,
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdentityVisitor)
    }
}

struct IdentityVisitor;

impl<'de> Visitor<'de> for IdentityVisitor {
    type Value = Identity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("known_agents, fingerprint, {header: NAME} or {body: FIELD}")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Identity, E> {
        match name {
            "known_agents" => Ok(Identity::Named(Named::KnownAgents)),
            "fingerprint" => Ok(Identity::Named(Named::Fingerprint)),
            other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Identity, A::Error> {
        Given::deserialize(MapAccessDeserializer::new(fields)).map(Identity::Given)
    }
}

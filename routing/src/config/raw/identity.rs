//! What identifies a conversation, as users write it.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// One way to identify a conversation: `known_agents`, `fingerprint`, `{header: NAME}` or `{body: FIELD}`.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(untagged))]
pub(crate) enum Identity {
    /// A built-in source.
    Builtin(BuiltinIdentity),
    /// A header or a field of the body.
    Field(IdentityField),
}

/// A built-in source of a conversation's identity.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) enum BuiltinIdentity {
    /// The headers and fields with which coding agents name their sessions.
    KnownAgents,
    /// The beginning of the conversation.
    Fingerprint,
}

/// A header or a field of the body with the conversation's id.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct IdentityField {
    /// The header's name, in lower case.
    pub(crate) header: Option<String>,
    /// The field of the body: `prompt_cache_key`, `conversation`, or a member of `metadata` such as `metadata.thread_id`.
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
            "known_agents" => Ok(Identity::Builtin(BuiltinIdentity::KnownAgents)),
            "fingerprint" => Ok(Identity::Builtin(BuiltinIdentity::Fingerprint)),
            other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Identity, A::Error> {
        IdentityField::deserialize(MapAccessDeserializer::new(fields)).map(Identity::Field)
    }
}

//! Where requests go: one model, or several that share them.

use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A model's name, or several models that share the requests: `[{model: a, weight: 90}, {model: b, weight: 10}]`.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(untagged))]
pub(crate) enum Target {
    /// Always this one.
    Model(String),
    /// One of these, by weight; a conversation always gets the same one.
    Weighted(Vec<Weighted>),
}

/// A model's share.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Weighted {
    /// Its name.
    pub(crate) model: String,
    /// Its share, relative to the others'.
    pub(crate) weight: u32,
}

/// By hand, as serde's untagged enums forget where in a list the error was.
impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TargetVisitor)
    }
}

struct TargetVisitor;

impl<'de> Visitor<'de> for TargetVisitor {
    type Value = Target;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a model's name, or a list like [{model: a, weight: 90}, {model: b, weight: 10}]")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Target, E> {
        Ok(Target::Model(name.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, shares: A) -> Result<Target, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(shares)).map(Target::Weighted)
    }
}

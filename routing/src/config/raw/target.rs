//! Where requests go: one model, or several that share them.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
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

/// A target, or with the classifier `examples` a target and prompts like those that should go there.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(untagged))]
pub(crate) enum Route {
    /// For a label that the classifier knows.
    Target(Target),
    /// For a label that is made by its examples.
    Taught(Taught),
}

/// A target, and prompts like those that should go there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Taught {
    /// Where they go.
    pub(crate) model: Target,
    /// At least one prompt, up to 1KiB each, and 1000 in all routes of a policy. Five to ten a route are a good start.
    pub(crate) examples: Vec<String>,
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

impl<'de> Deserialize<'de> for Route {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RouteVisitor)
    }
}

struct RouteVisitor;

impl<'de> Visitor<'de> for RouteVisitor {
    type Value = Route;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        TargetVisitor.expecting(f)?;
        f.write_str(", or with examples {model: a, examples: [a prompt]}")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Route, E> {
        TargetVisitor.visit_str(name).map(Route::Target)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, shares: A) -> Result<Route, A::Error> {
        TargetVisitor.visit_seq(shares).map(Route::Target)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Route, A::Error> {
        Taught::deserialize(MapAccessDeserializer::new(fields)).map(Route::Taught)
    }
}

//! Where requests go: one model, or several with weights.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// One model, or several with weights: `[{model: a, weight: 90}, {model: b, weight: 10}]`.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(untagged))]
pub(crate) enum Target {
    /// The name of a model.
    Model(String),
    /// Several models. Each conversation gets one of them, by weight, and always the same one.
    Weighted(Vec<Weighted>),
}

/// A model and its weight.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Weighted {
    /// The model's name.
    pub(crate) model: String,
    /// The model's fraction of conversations, relative to the other weights.
    pub(crate) weight: u32,
}

/// The target for a label; with the classifier `examples`, also the examples that define the label.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(untagged))]
pub(crate) enum Route {
    /// The target for a label of a classifier head.
    Target(Target),
    /// The target for a label that few-shot examples define.
    WithExamples(RouteWithExamples),
}

/// A target, and examples of the prompts that should go there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct RouteWithExamples {
    /// The target for prompts like the examples.
    pub(crate) model: Target,
    /// At least one prompt, each up to 1KiB; at most 1000 in all routes of a policy. Start with five to ten per route.
    pub(crate) examples: Vec<String>,
}

/// Written by hand because serde's untagged enums lose the position of an error in a list.
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
        RouteWithExamples::deserialize(MapAccessDeserializer::new(fields)).map(Route::WithExamples)
    }
}

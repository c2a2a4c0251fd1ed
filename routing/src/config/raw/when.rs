//! Conditions of rules as they are written.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

#[cfg(feature = "schema")]
use crate::config::schema::Count;
use crate::config::unique::UniqueMap;
use crate::config::units::{Decimal, Tokens};

/// Conditions, all of which must hold, by their names.
#[derive(Default)]
pub(crate) struct When(pub(crate) Vec<(String, Condition)>);

/// One condition.
pub(crate) enum Condition {
    All(Vec<When>),
    Any(Vec<When>),
    Not(When),
    Header(BTreeMap<String, String>),
    PathPrefix(String),
    TextMatches(String),
    HasTools(bool),
    HasImages(bool),
    MinTokens(Tokens),
    MaxTokens(Tokens),
    /// Of a head with this name.
    Head(HeadTest),
}

/// What a classifier must predict: a label, one of several labels, or a number within bounds.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(untagged))]
pub(crate) enum HeadTest {
    /// The best label is this.
    Label(String),
    /// The best label is one of these.
    Labels(Vec<String>),
    /// A number is within bounds.
    Range(Range),
}

/// Bounds of a number, at least one: of the head's score or, for a head with labels, of its best label's probability.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Range {
    /// The number is above this, 0 to 1.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f32>", range(min = 0.0, max = 1.0)))]
    pub(crate) above: Option<Decimal>,
    /// The number is below this, 0 to 1.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f32>", range(min = 0.0, max = 1.0)))]
    pub(crate) below: Option<Decimal>,
    /// The number is the sum of the probabilities of these labels; of a head that scores, the highest of these dimensions.
    #[serde(default)]
    pub(crate) of: Vec<String>,
}

const EXPECTED: &str = "conditions like {header: {x-tenant: acme}} or {domain: [law, health]}";

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WhenVisitor)
    }
}

struct WhenVisitor;

impl<'de> Visitor<'de> for WhenVisitor {
    type Value = When;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<When, A::Error> {
        let mut when = When::default();
        while let Some(name) = map.next_key::<String>()? {
            let condition = match name.as_str() {
                "all" => Condition::All(map.next_value()?),
                "any" => Condition::Any(map.next_value()?),
                "not" => Condition::Not(map.next_value()?),
                "header" => Condition::Header(map.next_value::<UniqueMap<String>>()?.0),
                "path_prefix" => Condition::PathPrefix(map.next_value()?),
                "text_matches" => Condition::TextMatches(map.next_value()?),
                "has_tools" => Condition::HasTools(map.next_value()?),
                "has_images" => Condition::HasImages(map.next_value()?),
                "min_tokens" => Condition::MinTokens(map.next_value()?),
                "max_tokens" => Condition::MaxTokens(map.next_value()?),
                _ => Condition::Head(map.next_value()?),
            };
            if when.0.iter().any(|(other, _)| *other == name) {
                return Err(A::Error::custom(format_args!("{name:?} is there twice")));
            }
            when.0.push((name, condition));
        }
        Ok(when)
    }
}

impl<'de> Deserialize<'de> for HeadTest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HeadTestVisitor)
    }
}

struct HeadTestVisitor;

impl<'de> Visitor<'de> for HeadTestVisitor {
    type Value = HeadTest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "one of the conditions all, any, not, header, path_prefix, text_matches, has_tools, has_images, min_tokens and \
             max_tokens; or for a head of that name a label, a list of labels, or {above: 0.5}",
        )
    }

    fn visit_str<E: Error>(self, label: &str) -> Result<HeadTest, E> {
        Ok(HeadTest::Label(label.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, labels: A) -> Result<HeadTest, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(labels)).map(HeadTest::Labels)
    }

    fn visit_map<A: MapAccess<'de>>(self, bounds: A) -> Result<HeadTest, A::Error> {
        Range::deserialize(MapAccessDeserializer::new(bounds)).map(HeadTest::Range)
    }
}

/// Conditions, all of which must hold; at least one. Every other name is that of a head of the sidecar's model, such as
/// `domain`, with what it must predict: a label, a list of labels, or bounds of a number. All heads of a request are asked in
/// one call.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[schemars(rename = "When", title = "When")]
#[allow(dead_code)]
pub(crate) struct WhenSchema {
    /// All of these hold: for conditions of one kind that are needed more than once.
    #[schemars(with = "Option<Vec<When>>")]
    all: Option<Vec<WhenSchema>>,
    /// At least one of these holds.
    #[schemars(with = "Option<Vec<When>>")]
    any: Option<Vec<WhenSchema>>,
    /// This does not hold. If it depends on a prediction that is missing, neither does its opposite.
    #[schemars(with = "Option<Box<When>>")]
    not: Option<Box<WhenSchema>>,
    /// Headers, by lower-case name, and their exact values.
    header: Option<BTreeMap<String, String>>,
    /// How the path starts, in letters of any case, once it is decoded and its dots and doubled slashes are resolved.
    path_prefix: Option<String>,
    /// A regular expression that is found in the prompt: the user's last message. It takes linear time: no look-around, no
    /// backreferences. `(?i)` ignores case.
    text_matches: Option<String>,
    /// Whether the request brings tools.
    has_tools: Option<bool>,
    /// Whether the request shows images or videos.
    has_images: Option<bool>,
    /// The request has this number of tokens or more, at 4 bytes a token.
    #[schemars(with = "Option<Count>")]
    min_tokens: Option<Tokens>,
    /// The request has this number of tokens or fewer, at 4 bytes a token.
    #[schemars(with = "Option<Count>")]
    max_tokens: Option<Tokens>,
    /// What a head must predict, by its name.
    #[serde(flatten)]
    heads: BTreeMap<String, HeadTest>,
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for When {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        WhenSchema::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        WhenSchema::json_schema(generator)
    }
}

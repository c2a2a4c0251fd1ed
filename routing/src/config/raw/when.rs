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
    Attribute(BTreeMap<String, Expected>),
    /// By namespace.
    Metadata(BTreeMap<String, Expected>),
    PathPrefix(String),
    TextMatches(String),
    HasTools(bool),
    HasImages(bool),
    MinTokens(Tokens),
    MaxTokens(Tokens),
    /// Of a head with this name.
    Head(HeadTest),
}

/// A text, a number, or true or false.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(untagged))]
pub(crate) enum Scalar {
    Text(String),
    Number(f64),
    Flag(bool),
}

/// What a value must be. In a list of Envoy's, one element must be so.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(untagged))]
pub(crate) enum Expected {
    /// This.
    One(Scalar),
    /// One of these.
    AnyOf(Vec<Scalar>),
    /// An object whose members, by their names, must all be so.
    Members(BTreeMap<String, Expected>),
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
                "attribute" => Condition::Attribute(map.next_value::<UniqueMap<Expected>>()?.0),
                "metadata" => Condition::Metadata(map.next_value::<UniqueMap<Expected>>()?.0),
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

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true or false")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Scalar, E> {
        Ok(Scalar::Flag(flag))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number))
    }
}

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ExpectedVisitor)
    }
}

struct ExpectedVisitor;

impl<'de> Visitor<'de> for ExpectedVisitor {
    type Value = Expected;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true or false, a list of these, or a map")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Expected, E> {
        ScalarVisitor.visit_str(text).map(Expected::One)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Expected, E> {
        ScalarVisitor.visit_bool(flag).map(Expected::One)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Expected, E> {
        ScalarVisitor.visit_u64(number).map(Expected::One)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Expected, E> {
        ScalarVisitor.visit_i64(number).map(Expected::One)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Expected, E> {
        ScalarVisitor.visit_f64(number).map(Expected::One)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<Expected, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(values)).map(Expected::AnyOf)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Expected, A::Error> {
        UniqueMap::deserialize(MapAccessDeserializer::new(members))
            .map(|members| Expected::Members(members.0))
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
            "one of the conditions all, any, not, header, attribute, metadata, path_prefix, text_matches, has_tools, \
             has_images, min_tokens and max_tokens; or for a head of that name a label, a list of labels, or {above: 0.5}",
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
    /// What Envoy knows of the request, by the names of Envoy's attributes: `xds.route_name`, `source.address`, `source.port`,
    /// `destination.address`, `destination.port`, `connection.mtls`, `connection.requested_server_name`,
    /// `connection.tls_version`, `connection.subject_peer_certificate`, `connection.dns_san_peer_certificate`,
    /// `connection.uri_san_peer_certificate`, `connection.sha256_peer_certificate_digest`. A value, a list of values, or
    /// `{prefix: TEXT}`; of addresses, IP addresses and networks like `10.0.0.0/8`. It does not hold where the value is unknown.
    /// Envoy may not have verified a client's certificate, unless the listener's `validation_context` requires it.
    attribute: Option<BTreeMap<String, Expected>>,
    /// What other filters found out, by namespace, which is the name of the filter, and then by the names of members:
    /// `{envoy.filters.http.jwt_authn: {payload: {tenant: acme}}}`. A value or a list of values, compared as a whole and with
    /// their type; a list in the metadata need only have one of them. It does not hold where the value is unknown.
    metadata: Option<BTreeMap<String, Expected>>,
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

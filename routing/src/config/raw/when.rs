//! Conditions of rules as users write them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

#[cfg(feature = "schema")]
use crate::config::schema::Count;
use crate::config::unique::UniqueMap;
use crate::config::units::{Decimal, Tokens};

/// Conditions by name. All of them must be true.
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
    /// On the prediction of the head with this name.
    Head(HeadTest),
}

/// A string, a number, or true or false.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(untagged))]
pub(crate) enum Scalar {
    Text(String),
    Number(f64),
    Flag(bool),
}

/// The value that a condition expects. If Envoy's value is a list, one element must be equal.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(untagged))]
pub(crate) enum Expected {
    /// This value.
    One(Scalar),
    /// One of these values.
    AnyOf(Vec<Scalar>),
    /// An object with these members; all must match.
    Members(BTreeMap<String, Expected>),
}

/// The prediction that a condition on a head expects.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(untagged))]
pub(crate) enum HeadTest {
    /// The head's best label is this one.
    Label(String),
    /// The head's best label is one of these.
    Labels(Vec<String>),
    /// A score or a probability is within these bounds.
    Range(Range),
}

/// Bounds of the head's score or, for a head with labels, of the probability of its best label. At least one of `above` and `below`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Range {
    /// The number is above this bound, 0 to 1.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f32>", range(min = 0.0, max = 1.0)))]
    pub(crate) above: Option<Decimal>,
    /// The number is below this bound, 0 to 1.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f32>", range(min = 0.0, max = 1.0)))]
    pub(crate) below: Option<Decimal>,
    /// Compares the sum of these labels' probabilities instead; for a head with scored dimensions, the highest of these.
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
                return Err(A::Error::custom(format_args!("duplicate key {name:?}")));
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

/// One or more conditions; all must be true. Any other name is a head of the sidecar's model, such as `domain`, with the
/// expected prediction: a label, a list of labels, or bounds of a number. One call gets the predictions of all heads that a request
/// needs.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[schemars(rename = "When", title = "When")]
#[allow(dead_code)]
pub(crate) struct WhenSchema {
    /// All of these are true. Use it for several conditions of one kind.
    #[schemars(with = "Option<Vec<When>>")]
    all: Option<Vec<WhenSchema>>,
    /// At least one of these is true.
    #[schemars(with = "Option<Vec<When>>")]
    any: Option<Vec<WhenSchema>>,
    /// These conditions are false. If they depend on a missing prediction, `not` is false, too.
    #[schemars(with = "Option<Box<When>>")]
    not: Option<Box<WhenSchema>>,
    /// Headers by lower-case name, with their exact values.
    header: Option<BTreeMap<String, String>>,
    /// Envoy's attributes of the request, by name: `xds.route_name`, `source.address`, `source.port`,
    /// `destination.address`, `destination.port`, `connection.mtls`, `connection.requested_server_name`,
    /// `connection.tls_version`, `connection.subject_peer_certificate`, `connection.dns_san_peer_certificate`,
    /// `connection.uri_san_peer_certificate`, `connection.sha256_peer_certificate_digest`. A value, a list of values, or
    /// `{prefix: TEXT}`; for addresses, IP addresses and networks like `10.0.0.0/8`. False if Envoy does not know the value.
    /// Envoy may not have verified a client's certificate, unless the listener's `validation_context` requires it.
    attribute: Option<BTreeMap<String, Expected>>,
    /// Envoy's dynamic metadata, by namespace (the name of the filter that wrote it) and member:
    /// `{envoy.filters.http.jwt_authn: {payload: {tenant: acme}}}`. A value or a list of values, compared as a whole and with
    /// their type; of a list in the metadata, one element must be equal. False if the value is unknown.
    metadata: Option<BTreeMap<String, Expected>>,
    /// The beginning of the path, in any case. The router decodes the path first, and resolves dots and doubled slashes.
    path_prefix: Option<String>,
    /// A regular expression that matches anywhere in the prompt, the user's last message. It runs in linear time: no look-around,
    /// no backreferences. `(?i)` ignores case.
    text_matches: Option<String>,
    /// Whether the request has tools.
    has_tools: Option<bool>,
    /// Whether the request has images or videos.
    has_images: Option<bool>,
    /// The request has at least this number of tokens, at 4 bytes per token.
    #[schemars(with = "Option<Count>")]
    min_tokens: Option<Tokens>,
    /// The request has at most this number of tokens, at 4 bytes per token.
    #[schemars(with = "Option<Count>")]
    max_tokens: Option<Tokens>,
    /// The expected prediction of a head, by its name.
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

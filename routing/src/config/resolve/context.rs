//! Resolves conditions on what Envoy knows of a request: attributes and dynamic metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use super::ConfigError;
use super::checks::{filled, key};
use crate::config::{AttributeTest, Condition, RequestCondition, raw};
use crate::context::{Attribute, AttributeKind, MetadataKey, Scalar};

/// The maximum nesting of metadata. Deeper nesting is a mistake.
const MAX_DEPTH: usize = 8;

/// Conditions on attributes. All must match.
pub(super) fn attributes(
    raw: BTreeMap<String, raw::Expected>,
    path: &str,
) -> Result<Vec<Condition>, ConfigError> {
    raw.into_iter()
        .map(|(name, expected)| {
            let path = format!("{path}.{}", key(&name));
            let Some(attribute) = Attribute::from_name(&name) else {
                let known: Vec<_> = Attribute::ALL.iter().map(|attribute| attribute.as_str()).collect();
                let problem = format!("unknown attribute; supported: {}", known.join(", "));
                return Err(ConfigError::new(path, problem));
            };
            let test = attribute_test(attribute, expected, path)?;
            Ok(Condition::Request(RequestCondition::Attribute(attribute, test)))
        })
        .collect()
}

fn attribute_test(
    attribute: Attribute,
    expected: raw::Expected,
    path: String,
) -> Result<AttributeTest, ConfigError> {
    if let raw::Expected::Members(members) = expected {
        return prefix(attribute, members, path);
    }
    let wanted = values(expected, &path)?;
    let error = |problem: String| ConfigError::new(path.clone(), problem);
    match attribute.kind() {
        AttributeKind::Address => {
            let networks = wanted.iter().map(|value| network(value).map_err(error));
            networks.collect::<Result<_, _>>().map(AttributeTest::Networks)
        }
        kind => match wanted.iter().find(|value| !is_of_kind(value, kind)) {
            Some(_) => Err(error(format!("must be {}", what(kind)))),
            None => Ok(AttributeTest::AnyOf(wanted)),
        },
    }
}

fn prefix(
    attribute: Attribute,
    mut members: BTreeMap<String, raw::Expected>,
    path: String,
) -> Result<AttributeTest, ConfigError> {
    let kind = attribute.kind();
    match (members.remove("prefix"), members.is_empty()) {
        (Some(raw::Expected::One(raw::Scalar::Text(prefix))), true)
            if kind == AttributeKind::Text && !prefix.is_empty() =>
        {
            Ok(AttributeTest::Prefix(prefix))
        }
        _ if kind == AttributeKind::Text => {
            let problem = "must be a text, a list of texts, or {prefix: TEXT} with a text that is not empty";
            Err(ConfigError::new(path, problem))
        }
        _ => Err(ConfigError::new(path, format!("must be {}", what(kind)))),
    }
}

/// Conditions on metadata. All must match.
pub(super) fn metadata(
    raw: BTreeMap<String, raw::Expected>,
    path: &str,
) -> Result<Vec<Condition>, ConfigError> {
    let mut conditions = Vec::new();
    for (namespace, expected) in raw {
        let path = format!("{path}.{}", key(&namespace));
        filled(&namespace, || path.clone())?;
        let raw::Expected::Members(members) = expected else {
            return Err(ConfigError::new(path, "must be a map of the namespace's members"));
        };
        let mut within = MetadataKey { namespace, path: Vec::new() };
        collect(members, &mut within, &path, &mut conditions)?;
    }
    Ok(conditions)
}

/// Adds the conditions on an object's members.
fn collect(
    members: BTreeMap<String, raw::Expected>,
    within: &mut MetadataKey,
    path: &str,
    conditions: &mut Vec<Condition>,
) -> Result<(), ConfigError> {
    if members.is_empty() {
        return Err(ConfigError::new(path, "must name at least one member"));
    }
    if let (Some(raw::Expected::One(raw::Scalar::Text(text))), 1) = (members.get("prefix"), members.len()) {
        let problem = format!(
            "metadata has no prefix matching; for a member named prefix with this value, write {{prefix: [{text:?}]}}"
        );
        return Err(ConfigError::new(path, problem));
    }
    if within.path.len() >= MAX_DEPTH {
        return Err(ConfigError::new(path, format!("is nested more than {MAX_DEPTH} levels deep")));
    }
    for (name, expected) in members {
        let path = format!("{path}.{}", key(&name));
        within.path.push(name);
        match expected {
            raw::Expected::Members(members) => collect(members, within, &path, conditions)?,
            expected => {
                let wanted = values(expected, &path)?;
                let condition = RequestCondition::Metadata(Arc::new(within.clone()), wanted);
                conditions.push(Condition::Request(condition));
            }
        }
        within.path.pop();
    }
    Ok(())
}

fn values(expected: raw::Expected, path: &str) -> Result<Vec<Scalar>, ConfigError> {
    match expected {
        raw::Expected::One(value) => Ok(vec![value.into()]),
        raw::Expected::AnyOf(values) if !values.is_empty() => {
            Ok(values.into_iter().map(Scalar::from).collect())
        }
        _ => Err(ConfigError::new(path, "must have at least one value")),
    }
}

impl From<raw::Scalar> for Scalar {
    fn from(raw: raw::Scalar) -> Self {
        match raw {
            raw::Scalar::Text(text) => Self::Text(text),
            raw::Scalar::Number(number) => Self::Number(number),
            raw::Scalar::Flag(flag) => Self::Flag(flag),
        }
    }
}

fn is_of_kind(value: &Scalar, kind: AttributeKind) -> bool {
    match (kind, value) {
        (AttributeKind::Text, Scalar::Text(text)) => !text.is_empty(),
        (AttributeKind::Flag, Scalar::Flag(_)) => true,
        (AttributeKind::Port, Scalar::Number(port)) => port.fract() == 0.0 && (0.0..=65535.0).contains(port),
        _ => false,
    }
}

fn what(kind: AttributeKind) -> &'static str {
    match kind {
        AttributeKind::Text => "a text that is not empty, or a list of such texts",
        AttributeKind::Address => "an IP address or a network like 10.0.0.0/8, or a list of these",
        AttributeKind::Port => "a port from 0 to 65535, or a list of ports",
        AttributeKind::Flag => "true or false",
    }
}

/// Parses a network. A single address counts as a network.
fn network(value: &Scalar) -> Result<IpNet, String> {
    let Scalar::Text(text) = value else { return Err(format!("must be {}", what(AttributeKind::Address))) };
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    let network: IpNet =
        text.parse().map_err(|_| format!("{text:?} must be {}", what(AttributeKind::Address)))?;
    match network.trunc() {
        trunc if trunc == network => Ok(canonical(network)),
        meant => Err(format!("{text:?} has bits beyond its prefix; did you mean {meant}?")),
    }
}

/// Addresses are compared as IPv4 where possible, so a network of IPv4-mapped IPv6 addresses becomes an IPv4 network.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let (address, length) = (v6.network().to_ipv4_mapped(), v6.prefix_len().checked_sub(96));
    let v4 = address.zip(length).and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    v4.map_or(network, IpNet::V4)
}

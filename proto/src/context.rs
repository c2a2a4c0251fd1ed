//! Reads attributes and dynamic metadata, as Envoy sends them in messages, into the context that a policy's conditions compare.

use std::collections::HashMap;

use llm_router_routing::context::{ContextKeys, MetadataKey, RequestContext, Scalar};
use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

use crate::envoy::config::core::v3::Metadata;
use crate::structs::as_struct;

/// The context that a policy's conditions read, from a message of Envoy's ext_proc filter. `attributes` has a
/// structure for each filter. Its fields have the names of the attributes.
pub fn of_message(
    keys: &ContextKeys,
    attributes: &HashMap<String, Struct>,
    metadata: Option<&Metadata>,
) -> RequestContext {
    let mut context = RequestContext::default();
    for attribute in &keys.attributes {
        let mut values = attributes.values().filter_map(|fields| fields.fields.get(attribute.as_str()));
        // Envoy sends an empty text for attributes that do not apply.
        let value = values.find_map(scalar).filter(|value| *value != Scalar::Text(String::new()));
        if let Some(value) = value {
            context.set_attribute(*attribute, value);
        }
    }
    if let Some(metadata) = metadata {
        add_metadata(&mut context, keys, metadata);
    }
    context
}

/// Adds the dynamic metadata that a policy's conditions read, from its encoded message.
pub fn add_encoded_metadata(context: &mut RequestContext, keys: &ContextKeys, metadata: &[u8]) {
    if let Ok(metadata) = Metadata::decode(metadata) {
        add_metadata(context, keys, &metadata);
    }
}

fn add_metadata(context: &mut RequestContext, keys: &ContextKeys, metadata: &Metadata) {
    for key in &keys.metadata {
        let values = values(metadata, key);
        if !values.is_empty() {
            context.set_metadata(key, values);
        }
    }
}

/// The value, or the values of a list. Empty if the metadata has no value.
fn values(metadata: &Metadata, key: &MetadataKey) -> Vec<Scalar> {
    let value = metadata.filter_metadata.get(&key.namespace).and_then(|fields| member(fields, &key.path));
    match value.and_then(|value| value.kind.as_ref()) {
        Some(Kind::ListValue(list)) => list.values.iter().filter_map(scalar).collect(),
        _ => value.and_then(scalar).into_iter().collect(),
    }
}

/// The value at a path of names.
fn member<'v>(fields: &'v Struct, path: &[String]) -> Option<&'v Value> {
    let (name, rest) = path.split_first()?;
    let value = fields.fields.get(name)?;
    if rest.is_empty() { Some(value) } else { member(as_struct(value)?, rest) }
}

/// None if the value is null, a list or a structure.
fn scalar(value: &Value) -> Option<Scalar> {
    match value.kind.as_ref()? {
        Kind::StringValue(text) => Some(Scalar::Text(text.clone())),
        Kind::NumberValue(number) => Some(Scalar::Number(*number)),
        Kind::BoolValue(flag) => Some(Scalar::Flag(*flag)),
        Kind::NullValue(_) | Kind::ListValue(_) | Kind::StructValue(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use llm_router_routing::context::Attribute;

    use super::*;
    use crate::structs::{fields, list, structure};

    fn keys(attributes: &[Attribute], paths: &[&[&str]]) -> ContextKeys {
        let key = |path: &&[&str]| {
            let path = path.iter().map(|&name| name.to_owned()).collect();
            Arc::new(MetadataKey { namespace: "jwt".to_owned(), path })
        };
        ContextKeys { attributes: attributes.to_vec(), metadata: paths.iter().map(key).collect() }
    }

    fn text(text: &str) -> Scalar {
        Scalar::Text(text.to_owned())
    }

    #[test]
    fn attributes_are_found_whatever_filter_sent_them() {
        let sent = fields([
            ("xds.route_name", Value::from("llms")),
            ("source.port", 443.0.into()),
            ("connection.mtls", true.into()),
            ("connection.tls_version", "".into()),
            ("source.address", "10.0.0.1:443".into()),
        ]);
        let sent = HashMap::from([("envoy.filters.http.ext_proc".to_owned(), sent)]);
        use Attribute::{Mtls, PeerUri, RouteName, SourcePort, TlsVersion};
        let context =
            of_message(&keys(&[RouteName, SourcePort, Mtls, TlsVersion, PeerUri], &[]), &sent, None);
        assert_eq!(context.attribute(RouteName), Some(&text("llms")));
        assert_eq!(context.attribute(SourcePort), Some(&Scalar::Number(443.0)));
        assert_eq!(context.attribute(Mtls), Some(&Scalar::Flag(true)));
        assert_eq!(context.attribute(TlsVersion), None, "it does not apply");
        assert_eq!(context.attribute(PeerUri), None);
        assert_eq!(context.attribute(Attribute::SourceAddress), None, "nobody asked");
    }

    #[test]
    fn metadata_is_found_by_namespace_and_path() {
        let payload = structure([
            ("tenant", Value::from("acme")),
            ("groups", list([Value::from("a"), Value::from(1.0), list(["b"])])),
            ("none", Value { kind: Some(Kind::NullValue(0)) }),
            ("address", structure([("country", Value::from("PL"))])),
        ]);
        let namespace = fields([("payload", payload), ("verified", true.into())]);
        let metadata = Metadata { filter_metadata: HashMap::from([("jwt".to_owned(), namespace)]) };
        let paths: &[&[&str]] = &[
            &["payload", "tenant"],
            &["payload", "groups"],
            &["payload", "none"],
            &["payload", "address", "country"],
            &["payload", "tenant", "x"],
            &["payload"],
            &["verified"],
            &["other"],
        ];
        let keys = keys(&[], paths);
        let from_message = of_message(&keys, &HashMap::new(), Some(&metadata));
        let mut context = RequestContext::default();
        add_encoded_metadata(&mut context, &keys, &metadata.encode_to_vec());
        assert_eq!(context, from_message);
        let found: Vec<_> = keys.metadata.iter().map(|key| context.metadata(key).to_vec()).collect();
        let expected = [
            vec![text("acme")],
            vec![text("a"), Scalar::Number(1.0)],
            vec![],
            vec![text("PL")],
            vec![],
            vec![],
            vec![Scalar::Flag(true)],
            vec![],
        ];
        assert_eq!(found, expected);
        let mut unread = RequestContext::default();
        add_encoded_metadata(&mut unread, &keys, b"\xff");
        assert_eq!(unread, RequestContext::default());
    }
}

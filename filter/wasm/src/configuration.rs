//! The plugin's configuration as Envoy hands it over: JSON if it was written as a string, else a serialized Struct.

use std::borrow::Cow;

use llm_router_proto::{Kind, Struct, Value};
use prost::Message;
use serde_json::{Map, Number};

/// The configuration as JSON.
///
/// A `google.protobuf.Struct` comes as its protobuf bytes from Envoy 1.40, whose documentation says JSON; hence both
/// are read. They cannot be taken for each other: a Struct starts with the tag of its only field, a line end as text,
/// and JSON after a line end is no Struct.
pub(crate) fn to_json(configuration: &[u8]) -> Cow<'_, [u8]> {
    const FIELDS_TAG: u8 = 0x0a;
    if configuration.first() != Some(&FIELDS_TAG) {
        return Cow::Borrowed(configuration);
    }
    match Struct::decode(configuration) {
        Ok(fields) => {
            let mut configuration = object(fields);
            restore_fractions(&mut configuration);
            Cow::Owned(configuration.to_string().into_bytes())
        }
        Err(_) => Cow::Borrowed(configuration),
    }
}

/// Envoy's YAML loader turns fractions in a Struct into text (`temperature: 0.3` into `"0.3"`). The policy's own fields
/// take both; but what a model's edits put into request bodies must be a number there.
fn restore_fractions(configuration: &mut serde_json::Value) {
    let models = configuration.get_mut("models").and_then(serde_json::Value::as_object_mut);
    for model in models.into_iter().flat_map(Map::values_mut) {
        for list in ["set", "default"] {
            if let Some(values) = model.get_mut("body").and_then(|body| body.get_mut(list)) {
                texts_to_numbers(values);
            }
        }
    }
}

fn texts_to_numbers(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => {
            if let Some(number) = fraction(text) {
                *value = number.into();
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(texts_to_numbers),
        serde_json::Value::Object(members) => members.values_mut().for_each(texts_to_numbers),
        _ => {}
    }
}

/// The number that a text was written as, if it has a fraction or an exponent: whole numbers stay numbers in a Struct.
fn fraction(text: &str) -> Option<Number> {
    let is_digits = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    let is_whole = !text.contains(['.', 'e', 'E']);
    if is_whole || !text.bytes().all(is_digits) {
        return None;
    }
    Number::from_f64(text.parse().ok()?)
}

fn object(value: Struct) -> serde_json::Value {
    let fields = value.fields.into_iter().map(|(name, value)| (name, json(value)));
    serde_json::Value::Object(fields.collect::<Map<_, _>>())
}

fn json(value: Value) -> serde_json::Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(flag)) => flag.into(),
        Some(Kind::NumberValue(double)) => number(double),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json).collect(),
        Some(Kind::StructValue(fields)) => object(fields),
    }
}

/// A Struct has doubles only; whole ones were whole numbers when they were written.
fn number(double: f64) -> serde_json::Value {
    const EXACT: f64 = (1_u64 << 53) as f64;
    if double.fract() == 0.0 && double.abs() <= EXACT {
        return (double as i64).into();
    }
    Number::from_f64(double).map_or(serde_json::Value::Null, Into::into)
}

#[cfg(test)]
mod tests {
    use llm_router_proto::structs::{fields, list, structure};

    use super::*;

    #[test]
    fn a_struct_becomes_the_json_that_it_was_written_as() {
        let null = Value { kind: Some(Kind::NullValue(0)) };
        let bytes = fields([
            ("text", Value::from("x\"y")),
            ("list", list([2048.0.into(), 0.3.into(), null])),
            ("inner", structure([("a", true.into())])),
        ])
        .encode_to_vec();
        let json: serde_json::Value = serde_json::from_slice(&to_json(&bytes)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"text": "x\"y", "list": [2048, 0.3, null], "inner": {"a": true}})
        );
    }

    #[test]
    fn fractions_of_body_edits_become_numbers_again() {
        let kwargs = structure([("top_p", "1.5e-1".into()), ("stop", list(["0.5", "1.2.3"]))]);
        let set = structure([
            ("temperature", "0.3".into()),
            ("kwargs", kwargs),
            ("user", "7".into()),
            ("tag", "e".into()),
            ("version", "v1.5".into()),
        ]);
        let body = structure([
            ("set", set),
            ("default", structure([("top_k", "-.5".into())])),
            ("remove", list(["0.5"])),
        ]);
        let model = structure([("model", "1.5".into()), ("body", body)]);
        let bytes =
            fields([("models", structure([("m", model)])), ("default_policy", "0.3".into())]).encode_to_vec();
        let json: serde_json::Value = serde_json::from_slice(&to_json(&bytes)).unwrap();
        let set = serde_json::json!({
            "temperature": 0.3, "kwargs": {"top_p": 0.15, "stop": [0.5, "1.2.3"]}, "user": "7", "tag": "e", "version": "v1.5",
        });
        let body = serde_json::json!({"set": set, "default": {"top_k": -0.5}, "remove": ["0.5"]});
        let expected =
            serde_json::json!({"models": {"m": {"model": "1.5", "body": body}}, "default_policy": "0.3"});
        assert_eq!(json, expected);
    }

    #[test]
    fn json_stays_as_it_is() {
        for json in [&b"{\"a\": 1}"[..], b"\n{\"a\": 1}", b"", b"\n\n{}"] {
            assert_eq!(to_json(json), json);
        }
    }
}

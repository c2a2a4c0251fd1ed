//! The plugin's configuration as Envoy hands it over: JSON if it was written as a string, else a serialized Struct.

use std::borrow::Cow;

use llm_router_filter_common::fractions;
use llm_router_proto::{Kind, Struct, Value};
use prost::Message;
use serde_json::{Map, Number};

/// The configuration as JSON.
///
/// Envoy 1.40 passes a `google.protobuf.Struct` as its protobuf bytes, although its documentation says JSON,
/// so both are read. They cannot be confused: a Struct starts with the tag of its only field, which is a line
/// end in text, and JSON after a line end is not a valid Struct.
pub(crate) fn to_json(configuration: &[u8]) -> Cow<'_, [u8]> {
    const FIELDS_TAG: u8 = 0x0a;
    if configuration.first() != Some(&FIELDS_TAG) {
        return Cow::Borrowed(configuration);
    }
    match Struct::decode(configuration) {
        Ok(fields) => {
            let mut configuration = object(fields);
            fractions::restore(&mut configuration);
            Cow::Owned(configuration.to_string().into_bytes())
        }
        Err(_) => Cow::Borrowed(configuration),
    }
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
        let body = structure([("set", structure([("temperature", "0.3".into())]))]);
        let model = structure([("model", "1.5".into()), ("body", body)]);
        let bytes = fields([("models", structure([("m", model)]))]).encode_to_vec();
        let json: serde_json::Value = serde_json::from_slice(&to_json(&bytes)).unwrap();
        let model = serde_json::json!({"model": "1.5", "body": {"set": {"temperature": 0.3}}});
        assert_eq!(json, serde_json::json!({"models": {"m": model}}));
    }

    #[test]
    fn json_stays_as_it_is() {
        for json in [&b"{\"a\": 1}"[..], b"\n{\"a\": 1}", b"", b"\n\n{}"] {
            assert_eq!(to_json(json), json);
        }
    }
}

//! Builds and reads `google.protobuf.Struct`: JSON in Protocol Buffers. `Value::from` makes the scalars.

use prost::Message;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

/// A structure of these fields.
pub fn fields<K: Into<String>>(fields: impl IntoIterator<Item = (K, Value)>) -> Struct {
    let mut all = Struct::default();
    // Not collected, because that sorts first, which would add 20 KB to the Wasm file.
    for (name, value) in fields {
        all.fields.insert(name.into(), value);
    }
    all
}

/// A value that is a structure of these fields.
pub fn structure<K: Into<String>>(of: impl IntoIterator<Item = (K, Value)>) -> Value {
    Value { kind: Some(Kind::StructValue(fields(of))) }
}

/// A value that is a list of these.
pub fn list<T: Into<Value>>(values: impl IntoIterator<Item = T>) -> Value {
    let values = values.into_iter().map(Into::into).collect();
    Value { kind: Some(Kind::ListValue(ListValue { values })) }
}

/// The structure that these bytes encode. Callers in other crates that decode one themselves have a copy of its code in
/// the Wasm file.
pub fn decode(bytes: &[u8]) -> Option<Struct> {
    Struct::decode(bytes).ok()
}

/// The structure, if the value is one.
pub fn as_struct(value: &Value) -> Option<&Struct> {
    match &value.kind {
        Some(Kind::StructValue(fields)) => Some(fields),
        _ => None,
    }
}

/// The structure itself, if the value is one.
pub fn into_struct(value: Value) -> Option<Struct> {
    match value.kind {
        Some(Kind::StructValue(fields)) => Some(fields),
        _ => None,
    }
}

/// The list, if the value is one.
pub fn into_list(value: Value) -> Option<Vec<Value>> {
    match value.kind {
        Some(Kind::ListValue(list)) => Some(list.values),
        _ => None,
    }
}

/// The text, if the value is one.
pub fn as_string(value: &Value) -> Option<&str> {
    match &value.kind {
        Some(Kind::StringValue(text)) => Some(text),
        _ => None,
    }
}

/// The text itself, if the value is one.
pub fn into_string(value: Value) -> Option<String> {
    match value.kind {
        Some(Kind::StringValue(text)) => Some(text),
        _ => None,
    }
}

/// The number, if the value is one.
pub fn as_number(value: &Value) -> Option<f64> {
    match value.kind {
        Some(Kind::NumberValue(number)) => Some(number),
        _ => None,
    }
}

/// The truth value, if the value is one.
pub fn as_bool(value: &Value) -> Option<bool> {
    match value.kind {
        Some(Kind::BoolValue(flag)) => Some(flag),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_only_as_its_own_type() {
        let values = [
            Value::from("a"),
            Value::from(0.5),
            Value::from(true),
            list(["a"]),
            structure([("a", 1.0.into())]),
        ];
        let read = values.map(|value| {
            (
                as_string(&value).is_some() && into_string(value.clone()).is_some(),
                as_number(&value).is_some(),
                as_bool(&value).is_some(),
                into_list(value.clone()).is_some(),
                as_struct(&value).is_some() && into_struct(value).is_some(),
            )
        });
        let expected = [
            (true, false, false, false, false),
            (false, true, false, false, false),
            (false, false, true, false, false),
            (false, false, false, true, false),
            (false, false, false, false, true),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_was_built_is_read_back() {
        let value = structure([("texts", list(["a", "b"])), ("number", 0.5.into())]);
        let mut inner = into_struct(value).unwrap();
        assert_eq!(as_number(&inner.fields["number"]), Some(0.5));
        assert_eq!(decode(&inner.encode_to_vec()), Some(inner.clone()));
        assert_eq!(decode(b"\xff"), None);
        let texts = into_list(inner.fields.remove("texts").unwrap()).unwrap();
        assert_eq!(texts.into_iter().filter_map(into_string).collect::<Vec<_>>(), ["a", "b"]);
    }
}

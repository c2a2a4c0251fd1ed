//! Fractions in a configuration that was written in YAML as a `google.protobuf.Struct`.

use serde_json::{Map, Number, Value};

/// Envoy's YAML loader turns fractions in a Struct into strings (`temperature: 0.3` into `"0.3"`). The policy's own fields
/// accept both, but the values that a model's edits put into request bodies must be numbers.
pub fn restore(configuration: &mut Value) {
    let models = configuration.get_mut("models").and_then(Value::as_object_mut);
    for model in models.into_iter().flat_map(Map::values_mut) {
        for list in ["set", "default"] {
            if let Some(values) = model.get_mut("body").and_then(|body| body.get_mut(list)) {
                texts_to_numbers(values);
            }
        }
    }
}

fn texts_to_numbers(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(number) = fraction(text) {
                *value = number.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(texts_to_numbers),
        Value::Object(members) => members.values_mut().for_each(texts_to_numbers),
        _ => {}
    }
}

/// The number in a text, if it has a fraction or an exponent: whole numbers stay numbers in a Struct.
fn fraction(text: &str) -> Option<Number> {
    let is_digits = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    let is_whole = !text.contains(['.', 'e', 'E']);
    if is_whole || !text.bytes().all(is_digits) {
        return None;
    }
    Number::from_f64(text.parse().ok()?)
}

/// Whether a JSON text may be a Struct that Envoy loaded from YAML: it has no white space, and no fractions, because those became
/// strings. JSON that an author wrote usually has either, and remains unchanged.
pub fn may_be_from_yaml(json: &[u8], value: &Value) -> bool {
    !has_space(json) && !has_fraction(value)
}

/// Whether there is white space between the tokens.
fn has_space(json: &[u8]) -> bool {
    let (mut in_text, mut is_escaped) = (false, false);
    json.iter().any(|byte| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            _ => return !in_text && byte.is_ascii_whitespace(),
        }
        false
    })
}

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_fraction),
        Value::Object(members) => members.values().any(has_fraction),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fractions_of_body_edits_become_numbers_again() {
        let mut configuration = json!({"default_policy": "0.3", "models": {"m": {"model": "1.5", "body": {
            "set": {
                "temperature": "0.3", "kwargs": {"top_p": "1.5e-1", "stop": ["0.5", "1.2.3"]},
                "user": "7", "tag": "e", "version": "v1.5",
            },
            "default": {"top_k": "-.5"}, "remove": ["0.5"],
        }}}});
        restore(&mut configuration);
        let set = json!({
            "temperature": 0.3, "kwargs": {"top_p": 0.15, "stop": [0.5, "1.2.3"]}, "user": "7", "tag": "e", "version": "v1.5",
        });
        let body = json!({"set": set, "default": {"top_k": -0.5}, "remove": ["0.5"]});
        assert_eq!(
            configuration,
            json!({"default_policy": "0.3", "models": {"m": {"model": "1.5", "body": body}}})
        );
    }

    #[test]
    fn json_by_an_author_is_distinguished_from_json_that_envoy_made_of_yaml() {
        let is_from_yaml =
            |json: &str| may_be_from_yaml(json.as_bytes(), &serde_json::from_str(json).unwrap());
        assert!(is_from_yaml(r#"{"a":"0.3 \" \\","b":[1,true]}"#));
        for json in [r#"{"a": "0.3"}"#, "{\"a\":\"0.3\"\n}", r#"{"a":"0.3","b":0.5}"#, r#"{"a":[1e3]}"#] {
            assert!(!is_from_yaml(json), "{json}");
        }
    }
}

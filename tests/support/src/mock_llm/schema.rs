//! Instances of JSON schemas, as clients generate them for tools and structured outputs.

use serde_json::{Map, Value, json};

/// The maximum depth of an instance, because schemas may refer to themselves.
const DEPTH: usize = 8;

/// A small value that is valid for the schema.
pub(super) fn instance(schema: &Value) -> Value {
    at_depth(schema, schema, DEPTH)
}

fn at_depth(schema: &Value, root: &Value, depth: usize) -> Value {
    let Some(depth) = depth.checked_sub(1) else { return Value::Null };
    if let Some(target) = schema["$ref"].as_str().and_then(|it| root.pointer(it.strip_prefix('#')?)) {
        return at_depth(target, root, depth);
    }
    let first = |list: &str| schema[list].as_array().and_then(|all| all.first());
    if let Some(value) = schema.get("const").or_else(|| first("enum")) {
        return value.clone();
    }
    if let Some(option) = first("anyOf").or_else(|| first("allOf")) {
        return at_depth(option, root, depth);
    }
    let kind = schema["type"].as_str().or_else(|| first("type")?.as_str());
    match kind.unwrap_or("object") {
        "string" => json!("text"),
        "integer" => json!(1),
        "number" => json!(1.5),
        "boolean" => json!(true),
        "array" => json!([at_depth(&schema["items"], root, depth)]),
        "null" => Value::Null,
        _ => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            let values = properties.map(|(name, it)| (name.clone(), at_depth(it, root, depth)));
            Value::Object(values.collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_all_properties() {
        let schema = json!({
            "$defs": { "Unit": { "enum": ["celsius", "kelvin"] } },
            "type": "object",
            "properties": {
                "unit": { "$ref": "#/$defs/Unit" },
                "days": { "type": "array", "items": { "type": "integer" } },
                "note": { "anyOf": [{ "type": "string" }, { "type": "null" }] },
            },
        });
        assert_eq!(instance(&schema), json!({ "unit": "celsius", "days": [1], "note": "text" }));
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({ "properties": { "next": { "$ref": "#" } } });
        assert!(instance(&schema)["next"]["next"].is_object());
    }
}

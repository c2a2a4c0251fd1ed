//! Writes the JSON schema as tables of fields.

use std::fmt::Write;

use serde_json::Value;

/// A section for each object, the policy itself first, then in the order in which they are met.
pub(crate) fn markdown(schema: &Value) -> String {
    let mut page = String::new();
    let mut names = Vec::new();
    section(&mut page, "The policy", schema, &mut names);
    let mut done = 0;
    while let Some(name) = names.get(done).cloned() {
        let definition = &schema["$defs"][&name];
        if definition.get("properties").is_some() {
            section(&mut page, &name, definition, &mut names);
        } else {
            values(&mut page, &name, definition, &mut names);
        }
        done += 1;
    }
    page
}

fn section(page: &mut String, title: &str, definition: &Value, names: &mut Vec<String>) {
    heading(page, title, definition);
    *page += "\n| field | type | default | |\n|---|---|---|---|\n";
    let required: Vec<_> = definition["required"].as_array().into_iter().flatten().collect();
    for (name, field) in definition["properties"].as_object().unwrap() {
        let default = match &field["default"] {
            _ if required.contains(&&Value::from(name.as_str())) => "**required**".to_owned(),
            Value::Null => String::new(),
            Value::Object(none) if none.is_empty() => String::new(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let kind = kind(field, names);
        let _ = writeln!(page, "| `{name}` | {kind} | {default} | {} |", description(field));
    }
}

/// What a value can be, if that needs explaining.
fn values(page: &mut String, title: &str, definition: &Value, names: &mut Vec<String>) {
    heading(page, title, definition);
    let choices = |field: &str| definition[field].as_array().cloned().unwrap_or_default();
    let constants = choices("oneOf").into_iter().map(|value| (format!("`{}`", text(&value["const"])), value));
    let kinds = choices("anyOf").into_iter().map(|value| (kind(&value, names), value));
    let mut lines = String::new();
    for (name, value) in constants.chain(kinds).filter(|(_, value)| !description(value).is_empty()) {
        let _ = writeln!(lines, "- {name}: {}", description(&value));
    }
    if !lines.is_empty() {
        let _ = write!(page, "\n{lines}");
    }
}

fn heading(page: &mut String, title: &str, definition: &Value) {
    let _ = writeln!(page, "\n### {title}\n\n{}", description(definition));
}

fn description(value: &Value) -> String {
    text(&value["description"]).replace('\n', " ")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The type in words, with links to the sections of those that have one.
fn kind(field: &Value, names: &mut Vec<String>) -> String {
    if let Some(reference) = field["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap().to_owned();
        let link = format!("[{name}](#{})", name.to_lowercase());
        if !names.contains(&name) {
            names.push(name);
        }
        return link;
    }
    // What need not be there may be null in JSON; nobody writes that.
    if let Some(kinds) = field["anyOf"].as_array() {
        let kinds = kinds.iter().filter(|kind| kind["type"] != "null");
        return kinds.map(|value| kind(value, names)).collect::<Vec<_>>().join(" or ");
    }
    let named = match &field["type"] {
        Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").and_then(Value::as_str),
        kind => kind.as_str(),
    };
    match named.unwrap_or_default() {
        "object" if field["additionalProperties"] == true => "map of any JSON".to_owned(),
        "object" => format!("map of {}", kind(&field["additionalProperties"], names)),
        "array" => format!("list of {}", kind(&field["items"], names)),
        "boolean" => "true or false".to_owned(),
        "string" => "text".to_owned(),
        "integer" => "whole number".to_owned(),
        other => other.to_owned(),
    }
}

//! Writes the JSON schema as Markdown: a table of fields for each object, and one table of all other values.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

/// The heading of the table of values that are not objects; links to these types lead there.
const VALUES: &str = "Values";

/// The policy first, then the objects in the order of their first use, then the values by name.
pub(crate) fn markdown(schema: &Value) -> String {
    let mut reference = Reference { schema, names: Vec::new() };
    let mut page = reference.object("Top level", schema);
    let mut values = BTreeMap::new();
    let mut done = 0;
    while let Some(name) = reference.names.get(done).cloned() {
        let definition = &schema["$defs"][&name];
        if is_object(definition) {
            page += &reference.object(&name, definition);
        } else {
            values.insert(name.clone(), reference.value_rows(&name, definition));
        }
        done += 1;
    }
    page += &format!("\n## {VALUES}\n\n| type | value | |\n|---|---|---|\n");
    page.extend(values.into_values());
    page
}

fn is_object(definition: &Value) -> bool {
    definition.get("properties").is_some()
}

struct Reference<'s> {
    schema: &'s Value,
    /// The types that were used so far, in the order of their first use.
    names: Vec<String>,
}

impl Reference<'_> {
    fn object(&mut self, title: &str, definition: &Value) -> String {
        let mut section = format!("\n## {title}\n\n{}\n\n", description(definition));
        section += "| field | type | default | |\n|---|---|---|---|\n";
        let required: Vec<_> = definition["required"].as_array().into_iter().flatten().collect();
        for (name, field) in definition["properties"].as_object().unwrap() {
            let default = match &field["default"] {
                _ if required.contains(&&Value::from(name.as_str())) => "**required**".to_owned(),
                Value::Null => String::new(),
                Value::Object(none) if none.is_empty() => String::new(),
                Value::String(text) => format!("`{text}`"),
                other => format!("`{other}`"),
            };
            let kind = self.kind(field);
            let _ = writeln!(section, "| `{name}` | {kind} | {default} | {} |", description(field));
        }
        let other = &definition["additionalProperties"];
        if other.get("$ref").is_some() {
            let kind = self.kind(other);
            let _ = writeln!(
                section,
                "| any other name | {kind} | | The expected prediction of the head with this name. |"
            );
        }
        section
    }

    /// A type that is no object: a row that describes it, then a row for each of its values that has a description.
    fn value_rows(&mut self, title: &str, definition: &Value) -> String {
        let mut rows = format!("| **{title}** | | {} |\n", description(definition));
        let choices = |field: &str| definition[field].as_array().cloned().unwrap_or_default();
        let constants =
            choices("oneOf").into_iter().map(|value| (format!("`{}`", text(&value["const"])), value));
        let kinds = choices("anyOf").into_iter().map(|value| (self.kind(&value), value));
        for (name, value) in constants.chain(kinds).filter(|(_, value)| !description(value).is_empty()) {
            let _ = writeln!(rows, "| | {name} | {} |", description(&value));
        }
        rows
    }

    /// The type in words, with links to the sections of those that have one.
    fn kind(&mut self, field: &Value) -> String {
        if let Some(reference) = field["$ref"].as_str() {
            return self.link(reference.rsplit('/').next().unwrap());
        }
        // Optional fields may be null in JSON; nobody writes that.
        if let Some(kinds) = field["anyOf"].as_array() {
            let kinds = kinds.iter().filter(|kind| kind["type"] != "null");
            return kinds.map(|value| self.kind(value)).collect::<Vec<_>>().join(" or ");
        }
        let named = match &field["type"] {
            Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").and_then(Value::as_str),
            kind => kind.as_str(),
        };
        match named.unwrap_or_default() {
            "object" if field["additionalProperties"] == true => "map of any JSON".to_owned(),
            "object" => format!("map of {}", self.kind(&field["additionalProperties"])),
            "array" => format!("list of {}", self.kind(&field["items"])),
            "boolean" => "true or false".to_owned(),
            "integer" => "whole number".to_owned(),
            other => other.to_owned(),
        }
    }

    fn link(&mut self, name: &str) -> String {
        if !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
        let section = if is_object(&self.schema["$defs"][name]) { name } else { VALUES };
        format!("[{name}](#{})", section.to_lowercase())
    }
}

fn description(value: &Value) -> String {
    text(&value["description"]).replace('\n', " ")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

//! The JSON schema's id, and its definitions of values with units.

#![allow(dead_code)]

use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

/// The name of this release's schema. The project has no domain, so it is a URN; the file is `docs/policy.schema.json`.
const ID: &str =
    concat!("urn:llm-router:policy:", env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));

/// The schema with `$schema` and `$id` first, as people read them.
pub(super) fn with_id(mut schema: Schema) -> Value {
    let dialect = schema.remove("$schema").unwrap_or_default();
    let mut named = json!({"$schema": dialect, "$id": ID});
    if let (Value::Object(named), Value::Object(fields)) = (&mut named, schema.to_value()) {
        named.extend(fields);
    }
    named
}

/// A duration with its unit: `200ms`, `5m`, `1h 30m`.
#[derive(JsonSchema)]
pub(super) struct Time(String);

/// A number of bytes, or a string with a unit: `64KiB`, `8MiB`.
#[derive(JsonSchema)]
#[serde(untagged)]
pub(super) enum Size {
    Bytes(u64),
    Text(String),
}

/// A number of tokens, or a string with a unit: `128k`, `1M`.
#[derive(JsonSchema)]
#[serde(untagged)]
pub(super) enum Count {
    Tokens(u64),
    Text(String),
}

//! Values with units as the JSON schema describes them.

#![allow(dead_code)]

use schemars::JsonSchema;

/// A time with its unit: `200ms`, `5m`, `1h 30m`.
#[derive(JsonSchema)]
pub(super) struct Time(String);

/// A number of bytes, or a text with a unit: `64KiB`, `8MiB`.
#[derive(JsonSchema)]
#[serde(untagged)]
pub(super) enum Size {
    Bytes(u64),
    Text(String),
}

/// A number of tokens, or a text with a unit: `128k`, `1M`.
#[derive(JsonSchema)]
#[serde(untagged)]
pub(super) enum Count {
    Tokens(u64),
    Text(String),
}

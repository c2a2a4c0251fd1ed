//! Checks that several parts of the configuration share.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::ConfigError;
use crate::config::IdentitySource;
use crate::failover::CREDENTIALS;
use crate::headers::OWN_PREFIX;

/// The configured item with this name.
pub(super) fn find<T>(
    what: &str,
    among: &BTreeMap<String, Arc<T>>,
    name: &str,
    path: impl FnOnce() -> String,
) -> Result<Arc<T>, ConfigError> {
    among.get(name).cloned().ok_or_else(|| {
        let configured: Vec<_> = among.keys().map(String::as_str).collect();
        let configured = if configured.is_empty() { "none".to_owned() } else { configured.join(", ") };
        ConfigError::new(path(), format!("no {what} {name:?}; configured: {configured}"))
    })
}

pub(super) fn filled(value: &str, path: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if value.is_empty() { Err(ConfigError::new(path(), "must not be empty")) } else { Ok(()) }
}

/// Names travel in response headers and stats.
pub(super) fn printable(name: &str, path: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return Err(ConfigError::new(path(), "the name must be one or more printable ASCII characters"));
    }
    Ok(())
}

/// Checks a name that becomes a part of the names of stats. Prometheus labels are extracted from these.
pub(super) fn stat_name(name: &str, path: impl Fn() -> String) -> Result<(), ConfigError> {
    printable(name, &path)?;
    let parts: Vec<_> = name.split('.').collect();
    match parts.iter().find(|part| parts.len() > 1 && STAT_LABELS.contains(part)) {
        Some(part) => {
            let problem = format!(
                "the name must not have {part:?} between dots, because it separates labels in the names of stats"
            );
            Err(ConfigError::new(path(), problem))
        }
        None => Ok(()),
    }
}

/// The labels that follow another label in the names of stats.
const STAT_LABELS: [&str; 6] = ["candidate", "label", "mode", "model", "outcome", "reason"];

pub(super) fn header_name(name: String, path: impl FnOnce() -> String) -> Result<String, ConfigError> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    if name.is_empty() || !name.bytes().all(legal) {
        let problem = format!("{name:?} must be a header name of lower-case letters, digits, - and _");
        return Err(ConfigError::new(path(), problem));
    }
    Ok(name)
}

/// Headers that have another meaning for Envoy, for LLMs, or for the router itself.
const TAKEN: [&str; 17] = [
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "content-length",
    "content-type",
    "content-encoding",
    "cookie",
    "forwarded",
    "x-request-id",
];

/// Prefixes of such headers' names.
const TAKEN_PREFIXES: [&str; 3] = ["x-envoy-", "x-forwarded-", OWN_PREFIX];

/// Headers with the router's own prefix that are allowed nevertheless. Native mode writes each head's prediction into a header
/// with this prefix and the head's name, so the others are reserved.
const FREE: [&str; 2] = ["x-llm-cluster", "x-llm-model"];

/// A header that the router sets for Envoy's routes, and removes from what clients send.
pub(super) fn own_header(
    name: String,
    identity: &[IdentitySource],
    path: &str,
) -> Result<String, ConfigError> {
    let name = header_name(name, || path.to_owned())?;
    let taken = |what: &str| ConfigError::new(path, format!("{name:?} {what}; choose another header"));
    let has_prefix = TAKEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let is_taken = TAKEN.iter().chain(&CREDENTIALS).any(|taken| *taken == name);
    if is_taken || has_prefix && !FREE.contains(&name.as_str()) {
        return Err(taken("is reserved"));
    }
    if identity.iter().any(|source| matches!(source, IdentitySource::Header(header) if *header == name)) {
        return Err(taken("identifies conversations"));
    }
    Ok(name)
}

pub(super) fn within<T: PartialOrd + fmt::Display>(
    value: &T,
    range: &RangeInclusive<T>,
    path: impl FnOnce() -> String,
) -> Result<(), ConfigError> {
    if range.contains(value) {
        return Ok(());
    }
    let problem = format!("{value} must be between {} and {}", range.start(), range.end());
    Err(ConfigError::new(path(), problem))
}

pub(super) fn within_times(
    value: Duration,
    range: &RangeInclusive<Duration>,
    path: impl FnOnce() -> String,
) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    let problem = format!("{value:?} must be between {:?} and {:?}", range.start(), range.end());
    Err(ConfigError::new(path(), problem))
}

/// A key as a path shows it: quoted where it would be hard to read otherwise.
pub(super) fn key(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_/".contains(c);
    if !name.is_empty() && name.chars().all(plain) { name.to_owned() } else { format!("{name:?}") }
}

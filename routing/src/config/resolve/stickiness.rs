//! Resolves what identifies conversations, and how they keep their model.

use super::checks::{header_name, key};
use super::{ConfigError, Policies, memory};
use crate::config::{IdentitySource, Policy, Stickiness, StickinessMode, Strategy, raw};
use crate::known_agents as known;

/// How conversations keep their model, if they do, and what identifies them.
pub(super) fn resolve(
    raw: Option<raw::Stickiness>,
    policies: &Policies,
) -> Result<(Option<Stickiness>, Vec<IdentitySource>), ConfigError> {
    let Some(raw) = raw else { return Ok((None, default_identity(None))) };
    let header = raw.header.map(|name| header_name(name, || "stickiness.header".to_owned())).transpose()?;
    let identity = match (raw.identity, header) {
        (Some(_), Some(_)) => {
            let problem = "has both header and identity; put {header: NAME} into identity";
            return Err(ConfigError::new("stickiness", problem));
        }
        (Some(sources), None) => identity(sources)?,
        (None, header) => default_identity(header),
    };
    let memory = memory("stickiness", raw.entries, raw.ttl)?;
    if raw.mode == StickinessMode::Strongest && memory.is_some() {
        policies.values().try_for_each(|policy| check_order(policy))?;
    }
    let stickiness = memory.map(|memory| Stickiness { mode: raw.mode, memory, compare: raw.compare });
    Ok((stickiness, identity))
}

fn default_identity(header: Option<String>) -> Vec<IdentitySource> {
    let header = header.map(IdentitySource::Header);
    header.into_iter().chain(known_agents()).chain([IdentitySource::Fingerprint]).collect()
}

fn known_agents() -> impl Iterator<Item = IdentitySource> {
    let headers = known::SESSION_HEADERS.iter().map(|&name| IdentitySource::Header(name.to_owned()));
    headers.chain(known::SESSION_FIELDS.iter().map(|&name| IdentitySource::Body(name.to_owned())))
}

fn identity(raw: Vec<raw::Identity>) -> Result<Vec<IdentitySource>, ConfigError> {
    let mut all = Vec::new();
    for (index, source) in raw.into_iter().enumerate() {
        let path = || format!("stickiness.identity[{index}]");
        match source {
            raw::Identity::Builtin(raw::BuiltinIdentity::KnownAgents) => all.extend(known_agents()),
            raw::Identity::Builtin(raw::BuiltinIdentity::Fingerprint) => {
                all.push(IdentitySource::Fingerprint)
            }
            raw::Identity::Field(raw::IdentityField { header: Some(name), body: None }) => {
                let name = header_name(name, || format!("{}.header", path()))?;
                all.push(IdentitySource::Header(name));
            }
            raw::Identity::Field(raw::IdentityField { header: None, body: Some(field) }) => {
                check_field(&field, || format!("{}.body", path()))?;
                all.push(IdentitySource::Body(field));
            }
            raw::Identity::Field(_) => {
                return Err(ConfigError::new(path(), "needs either a header or a body field"));
            }
        }
    }
    if all.is_empty() {
        return Err(ConfigError::new("stickiness.identity", "needs at least one entry"));
    }
    Ok(all)
}

fn check_field(field: &str, path: impl FnOnce() -> String) -> Result<(), ConfigError> {
    let is_member = field.strip_prefix("metadata.").is_some_and(|name| !name.is_empty());
    if is_member || matches!(field, "prompt_cache_key" | "conversation") {
        return Ok(());
    }
    let problem = format!("{field:?} must be prompt_cache_key, conversation, or metadata.NAME");
    Err(ConfigError::new(path(), problem))
}

/// Fails unless the policy's models can be ordered by strength: by bands, or by price.
fn check_order(policy: &Policy) -> Result<(), ConfigError> {
    let unpriced = match &policy.chooser {
        Strategy::Bands(_) => None,
        Strategy::Labels { .. } => policy.models().find(|model| model.cost.is_none()),
    };
    match unpriced {
        None => Ok(()),
        Some(model) => {
            let problem = format!(
                "compares models by price, and {} of the policy {} has none: add its cost",
                model.name,
                key(policy.name.as_str())
            );
            Err(ConfigError::new("stickiness.mode", problem))
        }
    }
}

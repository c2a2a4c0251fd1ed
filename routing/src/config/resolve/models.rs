//! Resolves the models.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::checks::{filled, key, printable, stat_name};
use super::{ConfigError, Models, body};
use crate::config::units::{Decimal, Tokens};
use crate::config::{Cost, Model, ModelId, ModelName, raw};

pub(super) fn resolve(raw: BTreeMap<String, raw::Model>) -> Result<Models, ConfigError> {
    raw.into_iter()
        .zip(0..)
        .map(|((name, raw), id)| {
            let model = model(ModelId(id), &name, raw)?;
            Ok((name, Arc::new(model)))
        })
        .collect()
}

fn model(id: ModelId, name: &str, raw: raw::Model) -> Result<Model, ConfigError> {
    let path = || format!("models.{}", key(name));
    stat_name(name, path)?;
    // The cluster is the value of the header that Envoy routes by.
    printable(&raw.cluster, || format!("{}.cluster", path()))?;
    filled(&raw.model, || format!("{}.model", path()))?;
    if let Some(base_path) = &raw.base_path {
        check_base_path(base_path, || format!("{}.base_path", path()))?;
    }
    if let Some(host) = &raw.host {
        printable(host, || format!("{}.host", path()))?;
    }
    Ok(Model {
        id,
        name: ModelName::from(name),
        cluster: raw.cluster,
        upstream: raw.model,
        api: raw.api,
        capabilities: raw.capabilities.map(|all| all.into_iter().collect()),
        context: raw.context.map(|tokens| context(tokens, || format!("{}.context", path()))).transpose()?,
        cost: raw.cost.map(|raw| cost(&raw, &format!("{}.cost", path()))).transpose()?,
        base_path: raw.base_path,
        host: raw.host,
        body: body::resolve(raw.body, &format!("{}.body", path()))?,
    })
}

/// Checks a path that will precede `/chat/completions` and the other endpoints.
fn check_base_path(base_path: &str, path: impl FnOnce() -> String) -> Result<(), ConfigError> {
    let legal = |byte: u8| byte.is_ascii_graphic() && !b"?#".contains(&byte);
    let absolute = base_path.is_empty() || base_path.starts_with('/');
    if absolute && !base_path.ends_with('/') && base_path.bytes().all(legal) {
        return Ok(());
    }
    let problem = format!("{base_path:?} must be empty, or start with / and not end with it, without query");
    Err(ConfigError::new(path(), problem))
}

fn context(tokens: Tokens, path: impl FnOnce() -> String) -> Result<u64, ConfigError> {
    match tokens.0 {
        0 => Err(ConfigError::new(path(), "must be above 0; remove it if it is unknown")),
        tokens => Ok(tokens),
    }
}

fn cost(raw: &raw::Cost, path: &str) -> Result<Cost, ConfigError> {
    let price = |value: Decimal, field: &str| {
        if value.0.is_finite() && value.0 >= 0.0 {
            return Ok(value.0);
        }
        let problem = "must be dollars per million tokens, 0 or more";
        Err(ConfigError::new(format!("{path}.{field}"), problem))
    };
    let cached_input = raw.cached_input.unwrap_or(raw.input);
    Ok(Cost {
        input: price(raw.input, "input")?,
        cached_input: price(cached_input, "cached_input")?,
        output: price(raw.output, "output")?,
    })
}

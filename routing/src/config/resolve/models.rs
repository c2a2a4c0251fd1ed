//! Resolves the models.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::checks::{filled, key, printable};
use super::{ConfigError, Models};
use crate::config::{Cost, Model, ModelName, raw};

pub(super) fn resolve(raw: BTreeMap<String, raw::Model>) -> Result<Models, ConfigError> {
    raw.into_iter()
        .map(|(name, raw)| {
            let model = model(&name, raw)?;
            Ok((name, Arc::new(model)))
        })
        .collect()
}

fn model(name: &str, raw: raw::Model) -> Result<Model, ConfigError> {
    let path = || format!("models.{}", key(name));
    printable(name, path)?;
    filled(&raw.cluster, || format!("{}.cluster", path()))?;
    filled(&raw.model, || format!("{}.model", path()))?;
    if let Some(base_path) = &raw.base_path {
        check_base_path(base_path, || format!("{}.base_path", path()))?;
    }
    if let Some(host) = &raw.host {
        printable(host, || format!("{}.host", path()))?;
    }
    Ok(Model {
        name: ModelName::from(name),
        cluster: raw.cluster,
        upstream: raw.model,
        api: raw.api,
        capabilities: raw.capabilities.map(|all| all.into_iter().collect()),
        context: raw.context.map(|tokens| tokens.0),
        cost: raw.cost.map(|raw| cost(&raw, || format!("{}.cost", path()))).transpose()?,
        base_path: raw.base_path,
        host: raw.host,
    })
}

/// It is put before `/chat/completions` and the like.
fn check_base_path(base_path: &str, path: impl FnOnce() -> String) -> Result<(), ConfigError> {
    let legal = |byte: u8| byte.is_ascii_graphic() && !b"?#".contains(&byte);
    let absolute = base_path.is_empty() || base_path.starts_with('/');
    if absolute && !base_path.ends_with('/') && base_path.bytes().all(legal) {
        return Ok(());
    }
    let problem = format!("{base_path:?} must be empty, or start with / and not end with it, without query");
    Err(ConfigError::new(path(), problem))
}

fn cost(raw: &raw::Cost, path: impl FnOnce() -> String) -> Result<Cost, ConfigError> {
    let price = |value: f64| value.is_finite() && value >= 0.0;
    if price(raw.input.0) && price(raw.output.0) {
        return Ok(Cost { input: raw.input.0, output: raw.output.0 });
    }
    Err(ConfigError::new(path(), "input and output must be dollars for a million tokens, not below 0"))
}

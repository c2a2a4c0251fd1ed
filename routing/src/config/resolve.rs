//! Turns the written configuration into the resolved one, and says what is wrong where.

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;

use super::{AUTO, Classifier, Config, Limits, Model, ModelName, Name, Policy, PolicyName, Sidecar, raw};

/// Over a minute is no deadline for a step before the LLM: it holds the request and its buffered body.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);
/// The filter copies a body once, and a Wasm VM has 4 GiB at most for all requests that it holds.
const MAX_BODY: RangeInclusive<ByteSize> = ByteSize::kib(1)..=ByteSize::mib(256);
/// Text beyond the sidecar's own bound would be cut there.
const CLASSIFY_TEXT: RangeInclusive<ByteSize> = ByteSize::b(256)..=ByteSize::mib(1);

/// A configuration that is refused, with the path of the field at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    path: String,
    problem: String,
}

impl ConfigError {
    pub(super) fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" | "." => f.write_str(&self.problem),
            path => write!(f, "{path}: {}", self.problem),
        }
    }
}

impl std::error::Error for ConfigError {}

pub(super) fn resolve(raw: raw::Config) -> Result<Config, ConfigError> {
    let models = models(raw.models)?;
    let policies = policies(raw.policies, &models)?;
    let default_policy = find("policy", &policies, &raw.default_policy, || "default_policy".to_owned())?;
    let names = names(&models, &policies, raw.aliases)?;
    Ok(Config {
        sidecar: sidecar(raw.sidecar)?,
        cluster_header: cluster_header(raw.cluster_header)?,
        limits: limits(&raw.limits)?,
        on_unknown_model: raw.on_unknown_model,
        default_policy,
        names,
        policies,
    })
}

fn models(
    raw: impl IntoIterator<Item = (String, raw::Model)>,
) -> Result<HashMap<String, Arc<Model>>, ConfigError> {
    raw.into_iter()
        .map(|(name, model)| {
            let path = || format!("models.{}", key(&name));
            printable(&name, path)?;
            filled(&model.cluster, || format!("{}.cluster", path()))?;
            filled(&model.model, || format!("{}.model", path()))?;
            let resolved =
                Model { name: ModelName::from(name.as_str()), cluster: model.cluster, upstream: model.model };
            Ok((name, Arc::new(resolved)))
        })
        .collect()
}

fn policies(
    raw: impl IntoIterator<Item = (String, raw::Policy)>,
    models: &HashMap<String, Arc<Model>>,
) -> Result<HashMap<String, Arc<Policy>>, ConfigError> {
    raw.into_iter()
        .map(|(name, policy)| {
            let policy = resolve_policy(&name, policy, models)?;
            Ok((name, Arc::new(policy)))
        })
        .collect()
}

fn resolve_policy(
    name: &str,
    raw: raw::Policy,
    models: &HashMap<String, Arc<Model>>,
) -> Result<Policy, ConfigError> {
    let path = || format!("policies.{}", key(name));
    printable(name, path)?;
    filled(&raw.classifier, || format!("{}.classifier", path()))?;
    let min_confidence = raw.min_confidence.number().unwrap_or(f32::NAN);
    within(&min_confidence, &(0.0..=1.0), || format!("{}.min_confidence", path()))?;
    let routes = raw
        .routes
        .into_iter()
        .map(|(label, model)| {
            let model = find("model", models, &model, || format!("{}.routes.{}", path(), key(&label)))?;
            Ok((label, model))
        })
        .collect::<Result<_, ConfigError>>()?;
    Ok(Policy {
        name: PolicyName::from(name),
        classifier: Classifier::from(raw.classifier),
        min_confidence,
        routes,
        default: find("model", models, &raw.default, || format!("{}.default", path()))?,
    })
}

/// All that a client may write in `model`. One name has one meaning.
fn names(
    models: &HashMap<String, Arc<Model>>,
    policies: &HashMap<String, Arc<Policy>>,
    aliases: impl IntoIterator<Item = (String, String)>,
) -> Result<HashMap<String, Name>, ConfigError> {
    let mut names = HashMap::from([(AUTO.to_owned(), Name::Auto)]);
    let mut insert = |path: String, name: &str, meaning: Name| match names.insert(name.to_owned(), meaning) {
        None => Ok(()),
        Some(other) => Err(ConfigError::new(path, format!("the name is taken by {}", other.what()))),
    };
    for (name, model) in models {
        insert(format!("models.{}", key(name)), name, Name::Model(Arc::clone(model)))?;
    }
    for (name, policy) in policies {
        insert(format!("policies.{}", key(name)), name, Name::Policy(Arc::clone(policy)))?;
    }
    for (alias, model) in aliases {
        let path = format!("aliases.{}", key(&alias));
        let model = find("model", models, &model, || path.clone())?;
        insert(path, &alias, Name::Alias(model))?;
    }
    Ok(names)
}

impl Name {
    fn what(&self) -> &'static str {
        match self {
            Self::Auto => "\"auto\", which asks for the default policy",
            Self::Policy(_) => "a policy",
            Self::Model(_) => "a model",
            Self::Alias(_) => "an alias",
        }
    }
}

fn sidecar(raw: raw::Sidecar) -> Result<Sidecar, ConfigError> {
    filled(&raw.cluster, || "sidecar.cluster".to_owned())?;
    if !TIMEOUT.contains(&raw.timeout) {
        let bounds = format!("between {:?} and {:?}", TIMEOUT.start(), TIMEOUT.end());
        return Err(ConfigError::new("sidecar.timeout", format!("{:?} must be {bounds}", raw.timeout)));
    }
    Ok(Sidecar { cluster: raw.cluster, timeout: raw.timeout, on_failure: raw.on_failure })
}

fn limits(raw: &raw::Limits) -> Result<Limits, ConfigError> {
    within(&raw.max_body, &MAX_BODY, || "limits.max_body".to_owned())?;
    within(&raw.classify_text, &CLASSIFY_TEXT, || "limits.classify_text".to_owned())?;
    let bytes = |size: ByteSize| usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
    Ok(Limits { max_body: bytes(raw.max_body), classify_text: bytes(raw.classify_text) })
}

fn cluster_header(name: String) -> Result<String, ConfigError> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    if name.is_empty() || !name.bytes().all(legal) {
        let problem = format!("{name:?} must be a header name of lower-case letters, digits, - and _");
        return Err(ConfigError::new("cluster_header", problem));
    }
    Ok(name)
}

fn find<T>(
    what: &str,
    among: &HashMap<String, Arc<T>>,
    name: &str,
    path: impl FnOnce() -> String,
) -> Result<Arc<T>, ConfigError> {
    among.get(name).cloned().ok_or_else(|| {
        let mut configured: Vec<_> = among.keys().map(String::as_str).collect();
        configured.sort_unstable();
        let configured = if configured.is_empty() { "none".to_owned() } else { configured.join(", ") };
        ConfigError::new(path(), format!("no {what} {name:?}; configured: {configured}"))
    })
}

fn filled(value: &str, path: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if value.is_empty() { Err(ConfigError::new(path(), "must not be empty")) } else { Ok(()) }
}

/// Names travel in response headers and stats.
fn printable(name: &str, path: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return Err(ConfigError::new(path(), "the name must be of printable ASCII characters, at least one"));
    }
    Ok(())
}

fn within<T: PartialOrd + fmt::Display>(
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

/// A key as a path shows it: quoted where it would be hard to read otherwise.
fn key(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_/".contains(c);
    if !name.is_empty() && name.chars().all(plain) { name.to_owned() } else { format!("{name:?}") }
}

#[cfg(test)]
mod tests;

//! Resolves the configuration as written. An error names the invalid field and the problem.

mod body;
mod checks;
mod context;
mod error;
mod examples;
mod models;
mod policies;
mod prompt;
mod rules;
mod stickiness;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use checks::{filled, find, key, own_header, printable, within, within_times};
pub use error::ConfigError;

use crate::context::ContextKeys;

use super::{AUTO, CacheConfig, Config, IdentitySource, Limits, Model, Name, Policy, Sidecar, raw};

/// At most a minute, because Envoy holds the request and its buffered body during the call.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);
/// The filter copies a body once, and a Wasm VM has 4 GiB at most for all requests that it holds.
const MAX_BODY: RangeInclusive<ByteSize> = ByteSize::kib(1)..=ByteSize::mib(256);
/// More text would only slow the sidecar: its models read a few thousand tokens.
const CLASSIFY_TEXT: RangeInclusive<ByteSize> = ByteSize::b(256)..=ByteSize::mib(1);
/// An entry takes about 200 bytes, in each of Envoy's workers.
const MAX_ENTRIES: u32 = 1_000_000;
/// At most a day: an older entry is likely to be outdated.
const TTL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

type Models = BTreeMap<String, Arc<Model>>;
type Policies = BTreeMap<String, Arc<Policy>>;

pub(super) fn resolve(raw: raw::Config) -> Result<Config, ConfigError> {
    let models = models::resolve(raw.models)?;
    let policies = policies::resolve(raw.policies, &models)?;
    let default_policy = find("policy", &policies, &raw.default_policy, || "default_policy".to_owned())?;
    let (limits, classify_text) = limits(&raw.limits)?;
    let rules = rules::resolve(raw.rules, &models, &policies)?;
    let mut context_keys = ContextKeys::default();
    rules.iter().for_each(|rule| rule.when.context_keys(&mut context_keys));
    let heads = rules.iter().flat_map(|rule| rule.when.heads()).map(|condition| condition.head.as_str());
    let asked = policies.values().map(|policy| policy.classifier.as_str()).chain(heads);
    let classifiers = asked.collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect();
    let (stickiness, identity) = stickiness::resolve(raw.stickiness, &policies)?;
    let cluster_header = own_header(raw.cluster_header, &identity, "cluster_header")?;
    let model_header = model_header(raw.model_header, &cluster_header, &identity, &models)?;
    Ok(Config {
        sidecar: sidecar(raw.sidecar)?,
        cluster_header,
        model_header,
        limits,
        mode: raw.mode,
        filter_state: raw.filter_state,
        failover: raw.failover,
        on_unknown_model: raw.on_unknown_model,
        default_policy,
        names: names(&models, &policies, raw.aliases)?,
        rules,
        classifiers,
        cache: memory("cache", raw.cache.entries, raw.cache.ttl)?,
        stickiness,
        identity,
        on_unknown_response: raw.on_unknown_response,
        prompt: prompt::resolve(raw.prompt, classify_text)?,
        context_keys,
        policies,
        models,
    })
}

/// All names that a client may write in `model`. Each has exactly one meaning.
fn names(
    models: &Models,
    policies: &Policies,
    aliases: BTreeMap<String, String>,
) -> Result<HashMap<String, Name>, ConfigError> {
    let mut names = HashMap::from([(AUTO.to_owned(), Name::Auto)]);
    let mut insert = |path: String, name: &str, meaning: Name| match names.insert(name.to_owned(), meaning) {
        None => Ok(()),
        Some(other) => Err(ConfigError::new(path, format!("the name is already used by {}", other.what()))),
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
            Self::Auto => "\"auto\", which requests the default policy",
            Self::Policy(_) => "a policy",
            Self::Model(_) => "a model",
            Self::Alias(_) => "an alias",
        }
    }
}

fn model_header(
    name: Option<String>,
    cluster_header: &str,
    identity: &[IdentitySource],
    models: &Models,
) -> Result<Option<String>, ConfigError> {
    const PATH: &str = "model_header";
    let Some(name) = name else { return Ok(None) };
    let name = own_header(name, identity, PATH)?;
    if name == cluster_header {
        return Err(ConfigError::new(
            PATH,
            format!("{name:?} is also cluster_header; choose another header"),
        ));
    }
    for model in models.values() {
        let path = || format!("models.{}.model", key(model.name.as_str()));
        printable(&model.upstream, path)?;
    }
    Ok(Some(name))
}

fn sidecar(raw: raw::Sidecar) -> Result<Sidecar, ConfigError> {
    filled(&raw.cluster, || "sidecar.cluster".to_owned())?;
    within_times(raw.timeout, &TIMEOUT, || "sidecar.timeout".to_owned())?;
    Ok(Sidecar { cluster: raw.cluster, timeout: raw.timeout, on_failure: raw.on_failure })
}

/// The limits, and the maximum size of the text to classify, in bytes.
fn limits(raw: &raw::Limits) -> Result<(Limits, usize), ConfigError> {
    within(&raw.max_body, &MAX_BODY, || "limits.max_body".to_owned())?;
    within(&raw.classify_text, &CLASSIFY_TEXT, || "limits.classify_text".to_owned())?;
    let bytes = |size: ByteSize| usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
    Ok((Limits { max_body: bytes(raw.max_body) }, bytes(raw.classify_text)))
}

/// `None` if 0 entries turn the cache off.
fn memory(path: &str, entries: u32, ttl: Duration) -> Result<Option<CacheConfig>, ConfigError> {
    within(&entries, &(0..=MAX_ENTRIES), || format!("{path}.entries"))?;
    within_times(ttl, &TTL, || format!("{path}.ttl"))?;
    let entries = usize::try_from(entries).ok().and_then(NonZeroUsize::new);
    Ok(entries.map(|entries| CacheConfig { entries, ttl }))
}

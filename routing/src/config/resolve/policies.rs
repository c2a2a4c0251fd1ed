//! Resolves the policies.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::checks::{filled, find, key, stat_name, within};
use super::examples;
use super::{ConfigError, Models, Policies};
use crate::config::units::Decimal;
use crate::config::{Band, Bands, Model, Policy, PolicyId, PolicyName, Strategy, Target, Weighted, raw};

pub(super) fn resolve(raw: BTreeMap<String, raw::Policy>, models: &Models) -> Result<Policies, ConfigError> {
    let mut candidates = Vec::new();
    let alone = raw
        .into_iter()
        .zip(0..)
        .map(|((name, mut raw), id)| {
            candidates.extend(raw.candidate.take().map(|candidate| (name.clone(), candidate)));
            let policy = policy(PolicyId(id), &name, raw, models)?;
            Ok((name, Arc::new(policy)))
        })
        .collect::<Result<Policies, ConfigError>>()?;
    with_candidates(alone, candidates)
}

/// Adds the candidates to the policies. A candidate has no candidate of its own here, so two policies can be each other's.
fn with_candidates(alone: Policies, candidates: Vec<(String, String)>) -> Result<Policies, ConfigError> {
    let mut policies = alone.clone();
    for (name, candidate) in candidates {
        let path = || format!("policies.{}.candidate", key(&name));
        let candidate = find("policy", &alone, &candidate, path)?;
        let Some(policy) = alone.get(&name) else { continue };
        if candidate.id == policy.id {
            return Err(ConfigError::new(
                path(),
                "is the policy itself: name another policy, or remove the field",
            ));
        }
        if let (Some(own), Some(other)) = (policy.classifier.examples(), candidate.classifier.examples())
            && own.digest() != other.digest()
        {
            let problem = "has other few-shot examples than this policy, and a call carries only one set: use the same examples";
            return Err(ConfigError::new(path(), problem));
        }
        policies.insert(name, Arc::new(Policy { candidate: Some(candidate), ..Policy::clone(policy) }));
    }
    Ok(policies)
}

fn policy(id: PolicyId, name: &str, raw: raw::Policy, models: &Models) -> Result<Policy, ConfigError> {
    let path = format!("policies.{}", key(name));
    stat_name(name, || path.clone())?;
    filled(&raw.classifier, || format!("{path}.classifier"))?;
    let classifier = examples::classifier(raw.classifier, raw.routes.as_ref(), &path)?;
    let default = raw.default.map(|raw| target(raw, models, || format!("{path}.default"))).transpose()?;
    let (chooser, default) = match (raw.routes, raw.bands) {
        (Some(routes), None) => {
            let default = default.ok_or_else(|| {
                let problem =
                    "is missing: name the model for prompts that have no route or cannot be classified";
                ConfigError::new(format!("{path}.default"), problem)
            })?;
            (labels(routes, raw.min_confidence, models, &path)?, default)
        }
        (None, Some(raw_bands)) => {
            if raw.min_confidence.is_some() {
                let problem = "has no meaning with bands: a score has no confidence; remove it";
                return Err(ConfigError::new(format!("{path}.min_confidence"), problem));
            }
            let bands = bands(raw_bands, models, &format!("{path}.bands"))?;
            let default = default.unwrap_or_else(|| bands.last.clone());
            (Strategy::Bands(bands), default)
        }
        (Some(_), Some(_)) => {
            return Err(ConfigError::new(path, "has both routes and bands; remove one"));
        }
        (None, None) => {
            let problem = "needs routes, if its classifier predicts labels, or bands, if it predicts a score";
            return Err(ConfigError::new(path, problem));
        }
    };
    let classes = classes(raw.classes, models, &path)?;
    let name = PolicyName::from(name);
    let mut policy =
        Policy { id, name, classifier, chooser, default, fallbacks: Vec::new(), classes, candidate: None };
    policy.fallbacks = match raw.fallback {
        Some(names) => fallback(&names, models, &format!("{path}.fallback"))?,
        None => cheapest_first(&policy),
    };
    Ok(policy)
}

fn labels(
    raw: BTreeMap<String, raw::Route>,
    min_confidence: Option<Decimal>,
    models: &Models,
    path: &str,
) -> Result<Strategy, ConfigError> {
    let min_confidence = min_confidence.map_or(0.0, |number| number.0 as f32);
    within(&min_confidence, &(0.0..=1.0), || format!("{path}.min_confidence"))?;
    let routes = raw
        .into_iter()
        .map(|(label, raw)| {
            let path = format!("{path}.routes.{}", key(&label));
            let target = match raw {
                raw::Route::Target(raw) => target(raw, models, || path.clone()),
                raw::Route::WithExamples(raw) => target(raw.model, models, || format!("{path}.model")),
            }?;
            Ok((label, target))
        })
        .collect::<Result<BTreeMap<_, _>, ConfigError>>()?;
    Ok(Strategy::Labels { routes, min_confidence })
}

fn bands(raw: Vec<raw::Band>, models: &Models, path: &str) -> Result<Bands, ConfigError> {
    let mut bounded: Vec<Band> = Vec::new();
    let mut last = None;
    for (index, raw) in raw.into_iter().enumerate() {
        let at = |field: &str| format!("{path}[{index}]{field}");
        if last.is_some() {
            return Err(ConfigError::new(
                at(""),
                "comes after a band without up_to, which covers all remaining scores: move it before that band",
            ));
        }
        let target = target(raw.model, models, || at(".model"))?;
        match raw.up_to {
            Some(Decimal(up_to)) => {
                let up_to = up_to as f32;
                within(&up_to, &(0.0..=1.0), || at(".up_to"))?;
                if let Some(before) = bounded.last().filter(|before| before.up_to >= up_to) {
                    let problem =
                        format!("{up_to} must be above {}, the up_to of the previous band", before.up_to);
                    return Err(ConfigError::new(at(".up_to"), problem));
                }
                bounded.push(Band { up_to, target });
            }
            None => last = Some(target),
        }
    }
    let last = last.ok_or_else(|| {
        ConfigError::new(path, "the last band must have no up_to: it covers all remaining scores")
    })?;
    Ok(Bands { bounded, last })
}

pub(super) fn target(
    raw: raw::Target,
    models: &Models,
    path: impl Fn() -> String,
) -> Result<Target, ConfigError> {
    match raw {
        raw::Target::Model(name) => Ok(Target::Model(find("model", models, &name, path)?)),
        raw::Target::Weighted(shares) => {
            if shares.iter().all(|share| share.weight == 0) {
                return Err(ConfigError::new(path(), "needs at least one model with a weight above 0"));
            }
            let shares = shares.into_iter().enumerate().map(|(index, share)| {
                let model = find("model", models, &share.model, || format!("{}[{index}].model", path()))?;
                Ok(Weighted { model, weight: share.weight })
            });
            Ok(Target::Weighted(shares.collect::<Result<_, ConfigError>>()?))
        }
    }
}

fn classes(
    raw: BTreeMap<String, String>,
    models: &Models,
    path: &str,
) -> Result<BTreeMap<String, Arc<Model>>, ConfigError> {
    raw.into_iter()
        .map(|(class, model)| {
            let path = format!("{path}.classes.{}", key(&class));
            filled(&class, || path.clone())?;
            let model = find("model", models, &model, || path)?;
            Ok((class, model))
        })
        .collect()
}

fn fallback(names: &[String], models: &Models, path: &str) -> Result<Vec<Arc<Model>>, ConfigError> {
    let found = names.iter().enumerate();
    found.map(|(index, name)| find("model", models, name, || format!("{path}[{index}]"))).collect()
}

/// The policy's own models without duplicates, ordered by price. Models without a price come last.
fn cheapest_first(policy: &Policy) -> Vec<Arc<Model>> {
    let price = |model: &Model| model.cost.map_or(f64::INFINITY, |cost| cost.input + cost.output);
    let mut all: Vec<_> = policy.models().cloned().collect();
    all.sort_by(|a, b| price(a).total_cmp(&price(b)).then_with(|| a.name.as_str().cmp(b.name.as_str())));
    all.dedup_by(|a, b| a.name == b.name);
    all
}

//! Makes a policy and clusters from the configurations that were found.

use anyhow::{Result, bail, ensure};
use llm_router_routing::config::Config;
use serde_json::{Map, Value, json};

use super::blueprint::Blueprint;
use super::find::{Found, find};
use super::llms::Servers;
use super::models::{Models, SIDECAR, Taken};
use super::policy::ImportedPolicy;
use super::secrets::Secrets;

/// The result of an import.
#[derive(Debug)]
pub(crate) struct Import {
    /// Our policy.
    pub(crate) policy: Value,
    /// An Envoy cluster for each LLM server.
    pub(crate) clusters: Vec<Value>,
    /// What could not be carried over, and what to do about it.
    pub(crate) notes: Vec<String>,
}

/// Imports all configurations in a text.
///
/// # Errors
/// If there is no configuration, two contradict each other, or no policy has an LLM that can be called.
pub(crate) fn import(text: &str) -> Result<Import> {
    let Found { blueprints, problems, .. } = find(text)?;
    let mut import = convert(&blueprints, &Secrets::new(&blueprints))?;
    import.notes.extend(problems);
    Ok(import)
}

fn convert(blueprints: &[Blueprint], secrets: &Secrets) -> Result<Import> {
    let mut notes = Vec::new();
    let mut servers = Servers::default();
    let mut policies: Vec<ImportedPolicy<'_>> = Vec::new();
    for blueprint in blueprints {
        for policy in &blueprint.policies {
            let candidate = match ImportedPolicy::new(blueprint, policy, secrets, &mut servers) {
                Ok(candidate) => candidate,
                Err(reason) => {
                    notes.push(format!("{reason}: skipped"));
                    continue;
                }
            };
            match policies.iter().find(|other| other.name == candidate.name) {
                None => policies.push(candidate),
                Some(first) => notes.extend(first.repeated_by(&candidate)?),
            }
        }
    }
    ensure!(!policies.is_empty(), "no policy can be imported: {}", nothing_usable(&notes));
    let mut models = Models::new(taken(&policies));
    let mut converted = Map::new();
    for policy in &policies {
        converted.insert(policy.name.clone(), policy.to_json(&mut models));
        notes.extend(policy.notes(&policy.default_model(&mut models)));
    }
    notes.extend(servers.notes());
    notes.push(format!("cluster {SIDECAR:?}: add it; envoy/wasm.yaml has one to copy"));
    let policy = json!({
        "sidecar": {"cluster": SIDECAR},
        "default_policy": default_policy(blueprints, &policies, &mut notes),
        "models": models.to_json(),
        "policies": converted,
    });
    // An error here is a bug in the import.
    if let Err(error) = Config::from_json(policy.to_string().as_bytes()) {
        bail!("the import is not a valid policy: {error}");
    }
    Ok(Import { policy, clusters: models.clusters(), notes })
}

fn nothing_usable(notes: &[String]) -> String {
    match notes {
        [] => {
            "policies: is empty; list at least one with a name, the url of its ensemble, and llms".to_owned()
        }
        notes => notes.join("; "),
    }
}

fn taken(policies: &[ImportedPolicy<'_>]) -> Taken {
    let mut taken = Taken::default();
    for policy in policies {
        taken.policies.insert(policy.name.clone());
        for (class, upstream) in policy.manual() {
            taken.classes.entry(class.to_owned()).or_default().insert(upstream.clone());
        }
    }
    taken
}

fn default_policy(
    blueprints: &[Blueprint],
    policies: &[ImportedPolicy<'_>],
    notes: &mut Vec<String>,
) -> String {
    let imported = |name: &str| policies.iter().any(|policy| policy.name == name);
    let mut named = blueprints.iter().filter_map(|blueprint| blueprint.default_policy.as_deref());
    let first = policies.first().map(|policy| policy.name.clone()).unwrap_or_default();
    match named.next() {
        Some(name) if imported(name) => name.to_owned(),
        Some(_) => {
            notes.push(format!(
                "default_policy is {first:?}, the first: the one that the file names is not imported"
            ));
            first
        }
        None => {
            notes.push(format!(
                "default_policy is {first:?}, the first: the blueprint rejects requests that name none"
            ));
            first
        }
    }
}

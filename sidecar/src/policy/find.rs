//! Finds routing policies wherever they are kept: alone in a file, in an Envoy bootstrap, in a Kubernetes manifest.

use anyhow::{Result, bail};
use llm_router_routing::config::Config;
use serde_json::{Map, Value};

/// A policy, and where in its file it was found.
#[derive(Debug)]
pub struct Found {
    /// The path of keys to it, after the Kubernetes object's kind and name if it is in one; empty if it is the whole
    /// document.
    pub place: String,
    /// The policy, or what is wrong with it.
    pub policy: Result<Config>,
}

/// Its top level has these; what has three of them is taken for a policy, so that a missing or misspelt one is reported
/// and not passed over.
const KEYS: [&str; 4] = ["sidecar", "default_policy", "models", "policies"];

/// All policies in a document.
pub fn find(document: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    // A document with but one of the keys is a policy that was hardly begun.
    if has_keys(document, 1) {
        found.push(Found { place: String::new(), policy: read(document) });
    } else {
        search(document, "", &mut found);
    }
    found
}

fn search(value: &Value, place: &str, found: &mut Vec<Found>) {
    if has_keys(value, 3) {
        found.push(Found { place: place.to_owned(), policy: read(value) });
        return;
    }
    match value {
        Value::Object(members) => {
            let object = kubernetes_object(members);
            let place = object.as_deref().unwrap_or(place);
            let dot = if place.is_empty() { "" } else { "." };
            for (key, value) in members {
                search(value, &format!("{place}{dot}{key}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                search(item, &format!("{place}[{index}]"), found);
            }
        }
        // A StringValue holds the policy as text; a ConfigMap a whole file.
        Value::String(text) if text.contains("default_policy") && text.contains("policies") => {
            match serde_saphyr::from_multiple::<Value>(text) {
                Ok(documents) => {
                    for document in documents.iter().filter(|document| !document.is_string()) {
                        search(document, place, found);
                    }
                }
                Err(error) => {
                    let policy = Err(anyhow::anyhow!("the text is neither YAML nor JSON: {error}"));
                    found.push(Found { place: place.to_owned(), policy });
                }
            }
        }
        _ => {}
    }
}

fn has_keys(value: &Value, at_least: usize) -> bool {
    let Value::Object(members) = value else { return false };
    KEYS.iter().filter(|key| members.contains_key(**key)).count() >= at_least
}

fn read(policy: &Value) -> Result<Config> {
    if policy.get("policies").is_some_and(Value::is_array) {
        bail!(
            "policies: is a list, as in the configuration of NVIDIA's blueprint; `llm-router-sidecar import-nvidia` \
             makes a policy of that"
        );
    }
    Ok(Config::from_json(policy.to_string().as_bytes())?)
}

fn kubernetes_object(members: &Map<String, Value>) -> Option<String> {
    let kind = members.get("kind")?.as_str()?;
    let name = members.get("metadata")?.get("name")?.as_str()?;
    Some(format!("{kind}/{name}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy() -> Value {
        json!({
            "sidecar": {"cluster": "c"}, "default_policy": "p",
            "models": {"m": {"cluster": "c", "model": "m"}},
            "policies": {"p": {"classifier": "task", "routes": {}, "default": "m"}},
        })
    }

    fn places(document: &Value) -> Vec<(String, bool)> {
        find(document).into_iter().map(|found| (found.place, found.policy.is_ok())).collect()
    }

    #[test]
    fn a_policy_is_found_alone_in_a_struct_and_in_a_string() {
        assert_eq!(places(&policy()), [(String::new(), true)]);
        let filter = |configuration: Value| json!({"filters": [{"config": {"configuration": {"value": configuration}}}]});
        let place = "filters[0].config.configuration.value".to_owned();
        assert_eq!(places(&filter(policy())), [(place.clone(), true)]);
        assert_eq!(places(&filter(json!(policy().to_string()))), [(place, true)]);
    }

    #[test]
    fn a_policy_in_a_config_map_is_found() {
        let text = "sidecar: {cluster: c}\ndefault_policy: p\nmodels: {m: {cluster: c, model: m}}\n\
                    policies: {p: {classifier: task, routes: {}, default: m}}\n";
        let map = json!({"kind": "ConfigMap", "data": {"policy.yaml": text}});
        assert_eq!(places(&map), [("data.policy.yaml".to_owned(), true)]);
        let named =
            json!({"items": [{"kind": "ConfigMap", "metadata": {"name": "llm"}, "data": {"p": text}}]});
        assert_eq!(places(&named), [("ConfigMap/llm.data.p".to_owned(), true)]);
    }

    #[test]
    fn text_that_should_hold_a_policy_and_is_no_yaml_is_reported() {
        let found = find(&json!({"value": "{\"default_policy\": \"p\", \"policies\": {"}));
        assert_eq!(found[0].place, "value");
        let error = found[0].policy.as_ref().unwrap_err().to_string();
        assert!(error.starts_with("the text is neither YAML nor JSON"), "{error}");
    }

    #[test]
    fn a_blueprints_configuration_is_told_from_a_policy() {
        let found = find(&json!({"policies": [{"name": "task_router", "llms": []}]}));
        let error = found[0].policy.as_ref().unwrap_err().to_string();
        assert!(error.contains("import-nvidia"), "{error}");
    }

    #[test]
    fn a_broken_policy_is_found_too() {
        let mut broken = policy();
        broken.as_object_mut().unwrap().remove("default_policy");
        broken["defualt_policy"] = json!("p");
        let found = find(&broken);
        let error = found[0].policy.as_ref().unwrap_err().to_string();
        assert!(error.contains("defualt_policy"), "{error}");
    }

    #[test]
    fn other_documents_have_none() {
        assert!(find(&json!({"spec": {"models": {}, "kind": "Deployment"}})).is_empty());
    }
}

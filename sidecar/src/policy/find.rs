//! Finds routing policies wherever they are kept: alone in a file, in an Envoy bootstrap, in a Kubernetes manifest.

use llm_router_routing::config::{Config, ConfigError};
use serde_json::Value;

/// A policy, and where in its file it was found.
#[derive(Debug)]
pub struct Found {
    /// The path of keys to it; empty if it is the whole document.
    pub place: String,
    /// The policy, or what is wrong with it.
    pub policy: Result<Config, ConfigError>,
}

/// All policies in a document. What looks like a policy counts, so that a broken one is reported and not passed over.
pub fn find(document: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    search(document, "", &mut found);
    found
}

fn search(value: &Value, place: &str, found: &mut Vec<Found>) {
    if looks_like_policy(value) {
        let policy = Config::from_json(value.to_string().as_bytes());
        found.push(Found { place: place.to_owned(), policy });
        return;
    }
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let dot = if place.is_empty() { "" } else { "." };
                search(value, &format!("{place}{dot}{key}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                search(item, &format!("{place}[{index}]"), found);
            }
        }
        // A StringValue holds the policy as text; a ConfigMap a whole file.
        Value::String(text) if text.contains("default_policy") => {
            for document in serde_saphyr::from_multiple::<Value>(text).unwrap_or_default() {
                if !document.is_string() {
                    search(&document, place, found);
                }
            }
        }
        _ => {}
    }
}

/// Three of its keys are enough, so that the fourth can be missing or misspelt.
fn looks_like_policy(value: &Value) -> bool {
    const KEYS: [&str; 4] = ["sidecar", "default_policy", "models", "policies"];
    let Value::Object(members) = value else { return false };
    KEYS.iter().filter(|key| members.contains_key(**key)).count() >= 3
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
        assert!(find(&json!({"models": {}, "kind": "Deployment"})).is_empty());
    }
}

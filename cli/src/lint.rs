//! Checks the Envoy configuration around a policy, as far as one document shows it.

use std::collections::BTreeSet;

use llm_router_routing::config::{Config, Mode};
use llm_router_routing::documents::find;
use serde_json::Value;

/// Warnings about policies that probably do not work as intended. They are not errors: the missing part may come from
/// elsewhere.
pub(crate) fn warnings(document: &Value) -> Vec<String> {
    let mut warnings = missing_clusters(document);
    check_plugins(document, &mut warnings);
    warnings
}

/// The clusters that policies name and that the bootstrap lacks. None are reported with CDS, which adds
/// clusters later.
fn missing_clusters(document: &Value) -> Vec<String> {
    let Some(Value::Array(clusters)) = document.pointer("/static_resources/clusters") else {
        return Vec::new();
    };
    if document.pointer("/dynamic_resources/cds_config").is_some() {
        return Vec::new();
    }
    let present: BTreeSet<_> = clusters.iter().filter_map(|cluster| cluster.get("name")?.as_str()).collect();
    let policies = find(document).into_iter().filter_map(|found| found.policy.ok());
    let named: BTreeSet<_> = policies.flat_map(|config| named_clusters(&config)).collect();
    named
        .into_iter()
        .filter(|(_, cluster)| !present.contains(cluster.as_str()))
        .map(|(path, cluster)| format!("{path}: static_resources.clusters has no {cluster:?}"))
        .collect()
}

fn named_clusters(config: &Config) -> Vec<(String, String)> {
    // In shadow mode, requests follow Envoy's own routes.
    let routed = config.mode == Mode::Enforce;
    let models = config
        .models()
        .filter(|_| routed)
        .map(|model| (format!("models.{}.cluster", model.name), model.cluster.clone()));
    models.chain([("sidecar.cluster".to_owned(), config.sidecar.cluster.clone())]).collect()
}

/// A Wasm plugin with a policy must be able to hold a request's headers until its body was read.
fn check_plugins(value: &Value, warnings: &mut Vec<String>) {
    const FIELD: &str = "allow_on_headers_stop_iteration";
    if let (Some(_), Some(configuration)) = (value.get("vm_config"), value.get("configuration"))
        && value.get(FIELD) != Some(&Value::Bool(true))
        && !find(configuration).is_empty()
    {
        warnings.push(format!("the Wasm plugin needs {FIELD}: true beside its vm_config, or requests hang"));
    }
    match value {
        Value::Object(members) => members.values().for_each(|value| check_plugins(value, warnings)),
        Value::Array(items) => items.iter().for_each(|item| check_plugins(item, warnings)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bootstrap() -> Value {
        json!({"static_resources": {
            "listeners": [{"config": {
                "allow_on_headers_stop_iteration": true,
                "vm_config": {"runtime": "envoy.wasm.runtime.v8"},
                "configuration": {"value": {
                    "sidecar": {"cluster": "sidecar"}, "default_policy": "p",
                    "models": {"m": {"cluster": "llm", "model": "m"}},
                    "policies": {"p": {"classifier": "task", "routes": {}, "default": "m"}},
                }},
            }}],
            "clusters": [{"name": "sidecar"}, {"name": "llm"}],
        }})
    }

    #[test]
    fn a_whole_bootstrap_has_no_warnings() {
        assert_eq!(warnings(&bootstrap()), [] as [String; 0]);
    }

    #[test]
    fn a_missing_cluster_is_reported_with_the_field_that_names_it() {
        let mut bootstrap = bootstrap();
        bootstrap["static_resources"]["clusters"][1]["name"] = json!("lm");
        let expected = r#"models.m.cluster: static_resources.clusters has no "llm""#;
        assert_eq!(warnings(&bootstrap), [expected]);
        bootstrap["dynamic_resources"] = json!({"cds_config": {"ads": {}}});
        assert_eq!(warnings(&bootstrap), [] as [String; 0]);
    }

    #[test]
    fn a_plugin_that_cannot_hold_headers_is_named() {
        let mut bootstrap = bootstrap();
        let plugin = &mut bootstrap["static_resources"]["listeners"][0]["config"];
        plugin.as_object_mut().unwrap().remove("allow_on_headers_stop_iteration");
        let warnings = warnings(&bootstrap);
        assert!(warnings[0].contains("allow_on_headers_stop_iteration: true"), "{warnings:?}");
    }
}

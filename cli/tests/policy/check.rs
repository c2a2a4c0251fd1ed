//! `check` as platform engineers use it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{llm_router, repository, text};

/// A policy as JSON, which is YAML too.
fn policy() -> Value {
    json!({
        "sidecar": {"cluster": "llm-router-sidecar"}, "default_policy": "tasks",
        "models": {"small": {"cluster": "small", "model": "small"}},
        "policies": {"tasks": {"classifier": "task", "routes": {"Code Generation": "small"}, "default": "small"}},
    })
}

fn broken() -> Value {
    let mut policy = policy();
    policy["policies"]["tasks"]["routes"]["Code Generation"] = json!("smal");
    policy
}

const PROBLEM: &str = r#"policies.tasks.routes."Code Generation": no model "smal"; configured: small"#;

fn envoy_filter(configuration: &Value) -> String {
    let value = json!({"typed_config": {"config": {
        "allow_on_headers_stop_iteration": true, "vm_config": {}, "configuration": configuration}}});
    let filter = json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": {"name": "llm-router"},
        "spec": {"configPatches": [{"applyTo": "HTTP_FILTER", "patch": {"operation": "INSERT_BEFORE", "value": value}}]},
    });
    format!("apiVersion: v1\nkind: Namespace\n---\n{filter}\n")
}

/// The exit code and standard error of checking this text.
fn check(content: &str) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file.yaml");
    fs::write(&file, content).unwrap();
    let output = llm_router(&["check", "--quiet", file.to_str().unwrap()]);
    let folder = format!("{}/", folder.path().display());
    (output.status.code().unwrap(), text(&output.stderr).replace(&folder, ""))
}

#[test]
fn valid_policies_pass_wherever_they_are() {
    let kubernetes_struct = json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": policy()});
    let string =
        json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": policy().to_string()});
    let config_map = json!({"kind": "ConfigMap", "metadata": {"name": "policy"}, "data": {"policy.yaml": policy().to_string()}});
    for content in [
        policy().to_string(),
        envoy_filter(&kubernetes_struct),
        envoy_filter(&string),
        config_map.to_string(),
    ] {
        assert_eq!(check(&content), (0, String::new()), "{content}");
    }
}

#[test]
fn an_error_names_file_field_fix_and_place() {
    let (code, error) = check(&broken().to_string());
    assert_eq!(code, 1);
    assert!(error.starts_with(&format!("error: file.yaml: {PROBLEM}\n")), "{error}");

    let (code, error) = check(&envoy_filter(&json!({"value": broken()})));
    assert_eq!(code, 1);
    let place =
        "EnvoyFilter/llm-router.spec.configPatches[0].patch.value.typed_config.config.configuration.value";
    assert!(error.starts_with(&format!("error: file.yaml: {PROBLEM}\n  in {place}\n")), "{error}");
}

#[test]
fn a_file_without_a_policy_is_an_error_that_says_why() {
    for (content, expected) in [
        ("", "file.yaml: the text is empty"),
        ("# nothing\n---\n", "file.yaml: the text is empty"),
        ("{a: [", "file.yaml: the text is neither YAML nor JSON"),
        ("a: 1\na: 2\n", "file.yaml: the text is neither YAML nor JSON"),
        ("kind: Deployment\n", "file.yaml has no policy"),
        ("models: {}\n", "file.yaml: missing field `sidecar`"),
        (
            "policies: [{name: task_router}]\n",
            "file.yaml: policies: is a list, as in the configuration of NVIDIA's",
        ),
    ] {
        let (code, error) = check(content);
        assert_eq!(code, 1);
        assert!(error.starts_with(&format!("error: {expected}")), "{error}");
    }
}

#[test]
fn all_files_are_checked_before_it_fails() {
    let docs = repository("docs");
    let example = repository("docs/examples/policy.yaml");
    let output = llm_router(&["check", "no-such-file", docs.to_str().unwrap(), example.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(errors.contains("cannot read no-such-file"), "{errors}");
    assert!(errors.contains("docs is a folder"), "{errors}");
    assert!(errors.contains("2 of 3 files invalid"), "{errors}");
    assert!(text(&output.stdout).contains("default policy task_router"));
    assert_eq!(llm_router(&["check"]).status.code(), Some(2));
}

#[test]
fn the_shipped_bootstraps_pass_without_a_warning() {
    for bootstrap in ["envoy/wasm.yaml", "envoy/shadow.yaml"] {
        let file = repository(bootstrap);
        assert!(Path::new(&file).exists(), "{bootstrap}");
        let output = llm_router(&["check", "--quiet", file.to_str().unwrap()]);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{bootstrap}");
    }
}

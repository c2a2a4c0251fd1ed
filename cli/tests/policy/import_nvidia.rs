//! `import-nvidia` on a whole blueprint's configuration.

use std::fs;
use std::process::Command;

use llm_router_routing::config::{Config, Strategy, Target};
use serde_json::{Value, json};

use super::{llm_router, repository, text};

/// The labels of our task head.
const TASKS: [&str; 12] = [
    "Brainstorming",
    "Chatbot",
    "Classification",
    "Closed QA",
    "Code Generation",
    "Extraction",
    "Open QA",
    "Other",
    "Rewrite",
    "Summarization",
    "Text Generation",
    "Unknown",
];

/// What it prints, and what it notes.
fn import() -> (Value, String) {
    let blueprint = repository("cli/tests/fixtures/nvidia-blueprint.yaml");
    let output = llm_router(&["import-nvidia", blueprint.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    (serde_saphyr::from_str(&text(&output.stdout)).unwrap(), text(&output.stderr))
}

fn upstream(target: &Target) -> &str {
    &target.models().next().unwrap().upstream
}

#[test]
fn every_class_keeps_its_model() {
    let config = Config::from_json(import().0["policy"].to_string().as_bytes()).unwrap();
    let tasks = config.policy("task_router").unwrap();
    for task in TASKS {
        assert!(tasks.class(task).is_some(), "{task}");
    }
    assert_eq!(tasks.class("Code Generation").unwrap().upstream, "nvidia/llama-3.3-nemotron-super-49b-v1");
    assert_eq!(upstream(&tasks.default), "meta/llama-3.1-8b-instruct", "the model of Unknown");
    let complexity = config.policy("complexity_router").unwrap();
    assert!(matches!(&complexity.chooser, Strategy::Labels { routes, .. } if routes.len() == 7));
    assert_eq!(complexity.class("reasoning").unwrap().upstream, "nvidia/llama-3.3-nemotron-super-49b-v1");
    // The same model, at two servers.
    assert_ne!(complexity.class("constraints").unwrap().cluster, tasks.class("Rewrite").unwrap().cluster);
}

#[test]
fn what_is_not_carried_over_is_noted() {
    let notes = import().1;
    for note in [
        "api_key for https://integrate.api.nvidia.com",
        "task_router_ensemble",
        "default_policy",
        "\"few_shots\"",
    ] {
        assert!(
            notes.lines().any(|line| line.starts_with("note: ") && line.contains(note)),
            "{note} in {notes}"
        );
    }
    assert!(!notes.contains("api_key for http://nim-llama-8b"), "{notes}");
}

#[test]
fn envoy_accepts_the_clusters() {
    let envoy = repository(".setup/venv/bin/envoy");
    if !envoy.exists() {
        eprintln!("not checked: {} is missing, scripts/setup brings it", envoy.display());
        return;
    }
    let bootstrap = json!({"static_resources": {"clusters": import().0["clusters"]}});
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bootstrap.json");
    fs::write(&file, bootstrap.to_string()).unwrap();
    let validation = Command::new(envoy).args(["--mode", "validate", "-c"]).arg(&file).output().unwrap();
    assert!(validation.status.success(), "{}", text(&validation.stderr));
}

#[test]
fn what_is_no_blueprint_is_refused() {
    let policy = repository("docs/examples/policy.yaml");
    let output = llm_router(&["import-nvidia", policy.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is not a blueprint's configuration"), "{}", text(&output.stderr));
}

//! Policies that route by examples.

use serde_json::{Value, json};

use super::{error_with, load, valid};
use crate::config::{Classifier, Config, Strategy};

const POLICY: &str = "/policies/task_router";

fn support(routes: Value) -> Value {
    json!({"classifier": "examples", "routes": routes, "default": "llama-8b"})
}

fn with(routes: Value) -> Config {
    let mut config = valid();
    config["policies"]["support"] = support(routes);
    load(&config).unwrap()
}

#[test]
fn a_route_has_a_target_and_examples() {
    let config = with(json!({
        "billing": {"model": "nemotron", "examples": ["where is my invoice", "refund please"]},
        "tech": {"model": [{"model": "llama-8b", "weight": 1}, {"model": "nemotron", "weight": 1}],
            "examples": ["it crashed"]},
    }));
    let policy = config.policy("support").unwrap();
    let Classifier::Examples(examples) = &policy.classifier else { panic!("{:?}", policy.classifier) };
    assert_eq!(examples.routes()["billing"], ["where is my invoice", "refund please"]);
    assert_eq!(examples.routes()["tech"], ["it crashed"]);
    let Strategy::Labels { routes, .. } = &policy.chooser else { panic!("{:?}", policy.chooser) };
    assert_eq!(routes["billing"].models().count(), 1);
    assert_eq!(routes["tech"].models().count(), 2);
}

#[test]
fn examples_belong_to_their_classifier() {
    let taught = json!({"model": "nemotron", "examples": ["refund please"]});
    for (policy, expected) in [
        (support(json!({})), ": needs routes with examples"),
        (json!({"classifier": "examples", "bands": [{"model": "nemotron"}]}), ": needs routes with examples"),
        (support(json!({"billing": "nemotron"})), ".routes.billing: needs examples: {model: NAME"),
        (
            json!({"classifier": "task", "routes": {"billing": taught}, "default": "nemotron"}),
            ".routes.billing: has examples, which need `classifier: examples`",
        ),
    ] {
        let error = error_with(POLICY, policy);
        assert!(error.starts_with(&format!("policies.task_router{expected}")), "{error}");
    }
}

#[test]
fn examples_are_texts_within_bounds() {
    let long = "x".repeat(1025);
    for (label, examples, expected) in [
        ("billing", json!([]), ".billing.examples: needs at least one"),
        ("billing", json!(["a", " \n"]), ".billing.examples[1]: is blank"),
        ("billing", json!([long]), ".billing.examples[0]: has 1025 bytes; the maximum is 1024"),
        ("billing", json!(vec!["a"; 1001]), ": have 1001 examples in total; the maximum is 1000"),
        ("bill\ning", json!(["a"]), ".\"bill\\ning\": the label is empty, over 128 bytes, or has control"),
        ("billing", json!([7]), ".billing.examples[0]: invalid type: integer"),
    ] {
        let error = error_with(POLICY, support(json!({label: {"model": "nemotron", "examples": examples}})));
        assert!(error.starts_with(&format!("policies.task_router.routes{expected}")), "{error}");
    }
    let misspelt = support(json!({"billing": {"model": "nemotron", "exemples": ["a"]}}));
    let error = error_with(POLICY, misspelt);
    assert!(error.contains("unknown field `exemples`"), "{error}");
    let error = error_with(POLICY, support(json!({"billing": {"model": "nemotrom", "examples": ["a"]}})));
    assert!(error.starts_with("policies.task_router.routes.billing.model: no model \"nemotrom\""), "{error}");
}

//! Configurations inside other files.

use serde_json::{Value, json};

use super::{import_text, llm, policy};

fn configuration(name: &str, model: &str) -> String {
    format!("policies:\n{}", policy(name, &[llm("Brainstorming", "http://a:8000", model)]))
}

/// The names of the policies that an import makes.
fn policies(yaml: &str) -> Vec<String> {
    import_text(yaml).unwrap().0["policy"]["policies"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn a_configuration_is_found_in_objects_lists_and_texts() {
    let text = configuration("p", "m");
    let object: Value = serde_saphyr::from_str(&text).unwrap();
    let list = &object["policies"];
    let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &text);
    for wrapper in [
        json!({"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"config.yaml": text}}),
        json!({"kind": "ConfigMap", "binaryData": {"config.yaml": base64}}),
        json!({"kind": "Secret", "data": {"config.yaml": base64}}),
        json!({"kind": "Secret", "stringData": {"config.yaml": text}}),
        json!({"kind": "List", "items": [{"kind": "Deployment"}, {"kind": "ConfigMap", "data": {"c": text}}]}),
        json!([{"kind": "ConfigMap", "data": {"c": object.to_string()}}]),
        json!({"routerController": {"config": object}}),
        json!({"routerController": {"routing": list}}),
        json!({"routerController": {"policies": {"p": list[0]}}}),
        json!({"app": {"llms": [{"name": "x", "model": "y"}]}, "config": text}),
        json!({"policy": {"name": "p", "url": "u"}, "llms": list[0]["llms"], "name": "p"}),
        json!({"spec": {"values": {"router": {"customConfig": text}}}}),
        json!({"configs": {"router": {"content": text}}}),
        json!({"cells": [{"source": text.split_inclusive('\n').collect::<Vec<_>>()}]}),
        json!({"data": {"manifest": json!({"kind": "ConfigMap", "data": {"c": text}}).to_string()}}),
        list.clone(),
        list[0].clone(),
    ] {
        assert_eq!(policies(&wrapper.to_string()), ["p"], "{wrapper}");
    }
    assert_eq!(policies(&format!("kind: Service\n---\n{text}---\nkind: Deployment\n")), ["p"]);
    let script = format!(
        "```bash\ncat <<EOF | kubectl apply -f -\ndata:\n  config.yaml: |\n    {}\nEOF\n```\n",
        text.replace('\n', "\n    ")
    );
    assert_eq!(policies(&script), ["p"]);
}

#[test]
fn several_configurations_are_imported_together_if_they_agree() {
    let (one, two) = (configuration("p", "m"), configuration("q", "n"));
    assert_eq!(policies(&format!("{one}---\n{two}---\n{one}")), ["p", "q"]);
    let map = |name: &str, text: &str| json!({"kind": "ConfigMap", "metadata": {"name": name}, "data": {"c": text}});
    let other = configuration("p", "other");
    let error = import_text(&format!("{}\n---\n{}", map("test", &one), map("live", &other))).unwrap_err();
    for part in [
        "different policies \"p\"",
        "\"ConfigMap/test.data.c.policies\"",
        "\"ConfigMap/live.data.c.policies\"",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_named() {
    let broken = json!({"data": {"config.yaml": "policies:\n- name: p\n  llms: [{name: }}"}}).to_string();
    let error = import_text(&broken).unwrap_err();
    assert!(error.contains("data.config.yaml is not YAML"), "{error}");
    let (_, notes) = import_text(&format!("{}---\n{broken}", configuration("p", "m"))).unwrap();
    assert!(notes.contains("data.config.yaml is not YAML"), "{notes}");
}

//! `import-nvidia` on whole configurations of the blueprint.

mod replay;
mod wrappers;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{llm_router, repository, text};

const BLUEPRINT: &str = "blueprint.yaml";

/// Every shape of configuration.
const FIXTURES: [&str; 9] = [
    BLUEPRINT,
    "positions.yaml",
    "fork.yaml",
    "custom.yaml",
    "configmap.yaml",
    "helm-values.yaml",
    "helm-template.yaml",
    "compose.yaml",
    "chart-values.yaml",
];

fn fixture(name: &str) -> String {
    repository("cli/tests/fixtures/nvidia").join(name).to_str().unwrap().to_owned()
}

/// What the import of a file prints, and its notes.
fn import(file: &str) -> (Value, String) {
    let output = llm_router(&["import-nvidia", file]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    (serde_saphyr::from_str(&text(&output.stdout)).unwrap(), text(&output.stderr))
}

/// What the import of a text prints, and its notes; or its error.
fn import_text(yaml: &str) -> Result<(Value, String), String> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_llm-router"))
        .args(["import-nvidia", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(yaml.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let messages = text(&output.stderr);
    match output.status.success() {
        true => Ok((serde_saphyr::from_str(&text(&output.stdout)).unwrap(), messages)),
        false => Err(messages),
    }
}

/// An LLM of a policy, as one line of YAML.
fn llm(name: &str, api_base: &str, model: &str) -> String {
    let llm = json!({"name": name, "api_base": api_base, "api_key": "none", "model": model});
    format!("\n  - {llm}")
}

/// A policy of the task ensemble.
fn policy(name: &str, llms: &[String]) -> String {
    format!(
        "- name: {name}\n  url: http://triton:8000/v2/models/task_router_ensemble/infer\n  llms:{}\n",
        llms.concat()
    )
}

#[test]
fn what_is_left_to_do_is_noted() {
    let notes = import(&fixture(BLUEPRINT)).1;
    for note in ["api_key for https://integrate.api.nvidia.com", "task_router_ensemble", "default_policy"] {
        let is_noted = notes.lines().any(|line| line.starts_with("note: ") && line.contains(note));
        assert!(is_noted, "{note} in {notes}");
    }
    assert!(!notes.contains("api_key for http://nim-llama-8b"), "{notes}");
}

#[test]
fn positions_that_surprise_are_noted() {
    let notes = import(&fixture("positions.yaml")).1;
    for note in [
        "\"renamed\": labels go to classes by position, as in the blueprint: \"Brainstorming\" to class \"Ideas\"",
        "\"reordered\": labels go to classes by position, as in the blueprint: \"creativity\" to class \"Reasoning\"",
        "\"one_more\": no label is left for class \"Vision\"",
        "\"too_few\": it has no LLM for \"Closed QA\"",
        "\"too_few\" is defined twice: the first one is used",
    ] {
        assert!(notes.contains(note), "{note} in {notes}");
    }
}

#[test]
fn envoy_accepts_the_clusters_of_every_fixture() {
    let envoy = repository(".setup/venv/bin/envoy");
    if !envoy.exists() {
        eprintln!("not checked: {} is missing, scripts/setup brings it", envoy.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in FIXTURES {
        let bootstrap = json!({"static_resources": {"clusters": import(&fixture(name)).0["clusters"]}});
        validate(&envoy, &folder.path().join("bootstrap.json"), &bootstrap);
    }
}

fn validate(envoy: &Path, file: &Path, bootstrap: &Value) {
    fs::write(file, bootstrap.to_string()).unwrap();
    let validation = Command::new(envoy).args(["--mode", "validate", "-c"]).arg(file).output().unwrap();
    assert!(validation.status.success(), "{}", text(&validation.stderr));
}

#[test]
fn a_fork_keeps_its_default_policy_and_loses_only_what_has_no_llms() {
    let (imported, notes) = import(&fixture("fork.yaml"));
    assert_eq!(imported["policy"]["default_policy"], "complexity_router");
    assert!(imported["policy"]["policies"]["agentic_router"].is_null());
    assert!(notes.contains("policy \"agentic_router\" has no llms: skipped"), "{notes}");
    let other = format!("policies:\n{}default_policy: gone\n", policy("p", &[llm("A", "http://a", "m")]));
    let (imported, notes) = import_text(&other).unwrap();
    assert_eq!(imported["policy"]["default_policy"], "p");
    assert!(notes.contains("the one that the file names is not imported"), "{notes}");
}

#[test]
fn servers_and_models_get_names_of_their_own() {
    let imported = import(&fixture("fork.yaml")).0;
    let clusters: Vec<_> =
        imported["clusters"].as_array().unwrap().iter().map(|cluster| &cluster["name"]).collect();
    assert_eq!(
        clusters,
        [
            "integrate-api-nvidia-com-443",
            "nim-8000",
            "nim-8000-2",
            "a-b-example-com-443",
            "a-b-example-com-443-2",
            "a-b-example-com-443-3",
            "2001-db8--1-8000",
            "192-0-2-7-443",
        ]
    );
    let models: Vec<_> = imported["policy"]["models"].as_object().unwrap().keys().skip(3).collect();
    assert_eq!(
        models,
        [
            "openrouter-auto",
            "vendor-task_router",
            "vendor-Reasoning",
            "small",
            "other-small",
            "small-2",
            "small-3"
        ]
    );
}

#[test]
fn a_custom_ensemble_asks_for_a_head_with_its_labels() {
    let (imported, notes) = import(&fixture("custom.yaml"));
    let policy = &imported["policy"]["policies"]["support"];
    assert_eq!(policy["classifier"], "intent");
    assert_eq!(
        policy["routes"],
        json!({"account_management": "small", "billing": "large", "other": "other"})
    );
    assert_eq!(policy["default"], "other");
    let train = "train a head \"intent\" with the labels \"account_management\", \"billing\", \"other\"";
    assert!(notes.contains(train) && notes.contains("docs/train-your-own.md"), "{notes}");
    assert!(notes.contains("policy \"manual\": its url names no ensemble"), "{notes}");
}

#[test]
fn without_an_ensemble_the_classes_say_which_it_was() {
    let named = |names: &[&str]| {
        let llms: Vec<_> = names.iter().map(|name| llm(name, "http://a", name)).collect();
        let yaml =
            policy("p", &llms).replace("http://triton:8000/v2/models/task_router_ensemble/infer", "\"\"");
        import_text(&format!("policies:\n{yaml}")).unwrap().0["policy"]["policies"]["p"].clone()
    };
    let part = named(&["Few-Shot", "Creativity"]);
    assert_eq!(part["routes"], json!({"few_shots": "Few-Shot", "creativity": "Creativity"}));
    let letters = ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L"];
    assert_eq!(named(&letters)["classifier"], "task");
    assert_eq!(named(&letters)["routes"]["Unknown"], "L");
    assert_eq!(named(&letters[..7])["routes"]["constraints"], "G");
    assert_eq!(named(&letters[..3])["routes"], json!({}));
}

#[test]
fn keys_are_left_behind_wherever_they_are() {
    const KEY: &str = "nvapi-abcDEF0123456789";
    let keyed = |name: &str, api_base: &str, model: &str| {
        let llms = [llm("Fine", "http://fine", "fine"), llm(name, api_base, model)];
        import_text(&format!("policies:\n{}", policy("p", &llms))).unwrap()
    };
    for (name, api_base, model) in [
        ("Chatbot", "https://a.example.com", KEY),
        ("Chatbot", "https://a.example.com", "vendor/sk-proj-abcdef0123456789"),
        (KEY, "https://a.example.com", "m"),
        ("Chatbot", KEY, "m"),
        ("Chatbot", "https://user:nvapi-abcDEF0123456789@a.example.com", "m"),
        ("Chatbot", "https://a.example.com/v1?key=nvapi-abcDEF0123456789", "m"),
        ("Chatbot", "https://a.example.com/nvapi-abcDEF0123456789/v1", "m"),
        ("Chatbot", "user:nvapi-abcDEF0123456789@a.example.com", "m"),
    ] {
        let (imported, notes) = keyed(name, api_base, model);
        let all = format!("{imported}{notes}");
        assert!(!all.contains("abcDEF0123456789") && !all.contains("abcdef0123456789"), "{all}");
        let about_it = notes.lines().any(|line| line.contains("key") || line.contains("carried over"));
        assert!(about_it, "{notes}");
    }
    let (imported, _) = keyed("Chatbot", "https://a.example.com", KEY);
    let policy = &imported["policy"]["policies"]["p"];
    assert_eq!(policy["classes"]["Chatbot"], policy["default"], "manual routing goes to the default");
    let same = llm("A", "http://a", "my-own-secret").replace("none", "my-own-secret");
    let error = import_text(&format!("policies:\n{}", policy_of_all(&same))).unwrap_err();
    assert!(!error.contains("my-own-secret"), "{error}");
}

fn policy_of_all(llm: &str) -> String {
    policy("p", &[llm.to_owned()])
}

#[test]
fn an_error_in_the_file_does_not_quote_it() {
    let error = import_text("policies:\n- name: p\n  api_key: nvapi-abcDEF: [\n  llms: }").unwrap_err();
    assert!(error.contains("neither YAML nor JSON") && !error.contains("abcDEF"), "{error}");
}

#[test]
fn strings_in_strings_that_aliases_repeat_are_searched_a_limited_number_of_times() {
    let repeated: Vec<_> = (0..98).map(|number| format!("text{number}: *text")).collect();
    let more = format!("more: {{{}}}\n", repeated.join(", "));
    let nested = (0..4).fold("no: llms\n".to_owned(), |inner, _| {
        format!("text: &text |\n  {}\n{more}", inner.replace('\n', "\n  "))
    });
    let error = import_text(&nested).unwrap_err();
    assert!(error.contains("more than 1000 strings"), "{error}");
}

#[test]
fn a_file_without_anything_to_import_says_what_to_give() {
    for (yaml, expected) in [
        ("", "the text is empty; pass the config.yaml"),
        ("---\n", "the text is empty"),
        ("policies: []", "no policy can be imported: policies: is empty; list at least one"),
        ("policies: [{name: p, llms: []}]", "policy \"p\" has no llms"),
        ("policies: [{name: p, url: u}]", "policy \"p\" has no llms"),
        (
            "policies: [{name: p, llms: [{name: A, api_base: nowhere, model: m}]}]",
            "its api_base \"nowhere\" is not a URL",
        ),
        ("policies: [{name: p, llms: [{name: A, api_base: 'nim:8000', model: m}]}]", "start with http://"),
        ("policies: [{name: p, llms: [{name: A, model: m}]}]", "it has no api_base"),
        ("policies: [{name: p, llms: [{name: A, api_base: 'http://a'}]}]", "it has no model"),
        ("policies: [{name: p, llms: [{name: A, api_base: '${BASE}', model: m}]}]", "fill it in first"),
        (
            "policies: [{name: auto, llms: [{name: A, api_base: 'http://a', model: m}]}]",
            "give it another name",
        ),
        ("routerController: {config: {apiBase: 'http://a', models: {chatbot: m}}}", "helm get values --all"),
        ("sidecar: {cluster: c}", "is not a blueprint's configuration"),
    ] {
        let error = import_text(yaml).unwrap_err();
        assert!(error.contains(expected), "{yaml}: {error}");
    }
    let policy = repository("docs/examples/policy.yaml");
    let output = llm_router(&["import-nvidia", policy.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is not a blueprint's configuration"), "{}", text(&output.stderr));
}

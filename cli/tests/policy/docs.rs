//! What `docs/` says about the policy matches the code.

use std::fs;
use std::path::PathBuf;

use llm_router_routing::config::Config;
use llm_router_routing::documents;
use serde_json::Value;

use super::{llm_router, reference, repository, text};

const REFRESH: &str = "UPDATE_DOCS=1 cargo test -p llm-router-cli --test policy";

/// The file must have the expected content; with `UPDATE_DOCS` set, the test writes it.
fn expect_file(path: &str, expected: &str) {
    let file = repository(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, expected).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == expected, "{path} is out of date; refresh it:\n  {REFRESH}");
}

#[test]
fn the_committed_schema_matches_the_code() {
    expect_file("docs/policy.schema.json", &text(&llm_router(&["schema"]).stdout));
}

/// Editors and registries cache a schema by its name, so another version needs another one.
#[test]
fn the_schema_is_named_after_the_release() {
    let schema = Config::json_schema();
    let version = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
    assert_eq!(schema["$id"], format!("urn:llm-router:policy:{version}"));
}

#[test]
fn the_reference_matches_the_schema() {
    const BEGIN: &str =
        "<!-- Generated from the schema: edit the comments in routing/src/config/raw.rs. -->\n";
    let path = "docs/policy-reference.md";
    let page = fs::read_to_string(repository(path)).unwrap();
    let (head, _) = page.split_once(BEGIN).unwrap_or_else(|| panic!("{path} must have the line {BEGIN}"));
    expect_file(path, &format!("{head}{BEGIN}{}", reference::markdown(&Config::json_schema())));
}

fn page(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap()
}

#[test]
fn the_page_shows_the_whole_example() {
    let example = page("docs/examples/policy.yaml");
    let (_, policy) = example.split_once("\n\n").unwrap();
    assert!(
        page("docs/configuration.md").contains(policy),
        "docs/configuration.md must show docs/examples/policy.yaml without its first comment"
    );
}

/// Each rule or model that a page shows with a link to an example file must be in that file.
#[test]
fn the_pages_show_excerpts_of_the_examples() {
    for (path, file, excerpts) in [
        ("docs/rules.md", "docs/examples/guard.yaml", ["- name: guard", "- name: expert"]),
        ("docs/reasoning-effort.md", "docs/examples/effort-ladder.yaml", ["  qwen-deep:", "  gpt-low:"]),
    ] {
        let (page, example) = (page(path), page(file));
        for start in excerpts {
            let (_, shown) = page.split_once(start).unwrap_or_else(|| panic!("{path} must show {start:?}"));
            let (_, expected) =
                example.split_once(start).unwrap_or_else(|| panic!("{file} must have {start:?}"));
            let indent = " ".repeat(start.len() - start.trim_start().len() + 1);
            let block = |text: &str| -> String {
                text.lines().skip(1).take_while(|line| line.starts_with(&indent)).collect()
            };
            assert!(!block(shown).is_empty(), "{path}: {start:?}");
            assert_eq!(block(shown), block(expected), "{path} must show {start:?} as in {file}");
        }
    }
}

/// A page must show what the command prints.
fn expect_output(path: &str, output: &[u8]) {
    let output = text(output);
    assert!(
        page(path).contains(output.trim_end()),
        "{path} must show what the command prints now:\n{output}"
    );
}

#[test]
fn the_pages_show_what_the_commands_print() {
    expect_output("docs/configuration.md", &llm_router(&["check", "docs/examples/policy.yaml"]).stdout);
    let files = ["docs/examples/policy.yaml", "docs/examples/request.json"];
    let explain = [&["explain"], &files[..], &["--label", "Chatbot", "--confidence", "0.83"]].concat();
    expect_output("docs/configuration.md", &llm_router(&explain).stdout);
    let import = llm_router(&["import-nvidia", "cli/tests/fixtures/nvidia/blueprint.yaml"]);
    expect_output("docs/migrating-from-nvidia.md", &import.stderr);
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(repository(folder)).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

/// Everything in a document that looks like a policy.
fn policies<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(members) if members.contains_key("default_policy") => found.push(value),
        Value::Object(members) => members.values().for_each(|value| policies(value, found)),
        Value::Array(items) => items.iter().for_each(|item| policies(item, found)),
        _ => {}
    }
}

#[test]
fn the_schema_and_the_code_accept_every_policy_of_the_repository() {
    let schema = jsonschema::validator_for(&Config::json_schema()).unwrap();
    let mut count = 0;
    for file in
        yaml_files("docs/examples").into_iter().chain(yaml_files("envoy")).chain(yaml_files("deploy/compose"))
    {
        for document in documents::parse(&fs::read_to_string(&file).unwrap()).unwrap() {
            let mut found = Vec::new();
            policies(&document, &mut found);
            for policy in found {
                count += 1;
                let errors: Vec<_> = schema
                    .iter_errors(policy)
                    .map(|error| format!("{}: {error}", error.instance_path()))
                    .collect();
                assert!(errors.is_empty(), "{}: {errors:#?}", file.display());
                let valid = Config::from_json(policy.to_string().as_bytes());
                assert!(valid.is_ok(), "{}: {}", file.display(), valid.unwrap_err());
            }
        }
    }
    assert!(count >= 2, "found only {count} policies");
}

#[test]
fn the_schema_rejects_what_the_code_rejects() {
    let schema = jsonschema::validator_for(&Config::json_schema()).unwrap();
    let valid = documents::parse(&fs::read_to_string(repository("docs/examples/policy.yaml")).unwrap())
        .unwrap()
        .remove(0);
    for (pointer, wrong) in [
        ("/sidecar", serde_json::json!({"cluster": "c", "timout": "1s"})),
        ("/mode", "shadows".into()),
        ("/models/gpt/capabilities", serde_json::json!(["vision"])),
        ("/policies/task_router/min_confidence", 2.into()),
        ("/policies/task_router/routes/Chatbot", serde_json::json!([{"model": "gpt"}])),
        ("/cache/entries", (-1).into()),
    ] {
        let mut policy = valid.clone();
        *policy.pointer_mut(pointer).unwrap() = wrong;
        assert!(!schema.is_valid(&policy), "{pointer}");
        assert!(Config::from_json(policy.to_string().as_bytes()).is_err(), "{pointer}");
    }
}

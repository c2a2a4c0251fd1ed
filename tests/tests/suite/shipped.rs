//! What every configuration must have that we ship.

use std::path::{Path, PathBuf};

use llm_router_tests::repository;
use serde_json::{Value, json};

const SETTINGS: [&str; 3] = ["normalize_path", "merge_slashes", "path_with_escaped_slashes_action"];

#[test]
fn every_gateway_normalizes_paths() {
    let mut found = 0;
    for file in files(&["envoy", "k8s", "deploy"], "yaml") {
        // What Helm renders comes from the overlays, and scripts/test-k8s checks that it does.
        if file.components().any(|part| part.as_os_str() == "templates") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a file");
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for document in &documents {
            found += check(document, &file);
        }
    }
    assert!(found >= 18, "only {found} gateways were found");
}

#[test]
fn every_script_that_makes_a_gateway_normalizes_paths() {
    let mut found = 0;
    for file in files(&["scripts"], "py") {
        let text = std::fs::read_to_string(&file).expect("a file");
        if text.contains("HttpConnectionManager") {
            found += 1;
            assert!(SETTINGS.iter().all(|name| text.contains(name)), "{}", file.display());
        }
    }
    assert!(found > 0);
}

/// Checks all connection managers in it, and Envoy Gateway's policies for clients; how many there are.
fn check(value: &Value, file: &Path) -> usize {
    let children = match value {
        Value::Object(fields) => fields.values().map(|it| check(it, file)).sum(),
        Value::Array(items) => items.iter().map(|it| check(it, file)).sum(),
        _ => 0,
    };
    if value["@type"].as_str().is_some_and(|it| it.ends_with(".HttpConnectionManager")) {
        let settings = SETTINGS.map(|name| &value[name]);
        assert_eq!(
            settings,
            [&json!(true), &json!(true), &json!("UNESCAPE_AND_FORWARD")],
            "{}",
            file.display()
        );
        return children + 1;
    }
    if value["kind"] == "ClientTrafficPolicy" {
        let expected = json!({ "disableMergeSlashes": false, "escapedSlashesAction": "UnescapeAndForward" });
        assert_eq!(value["spec"]["path"], expected, "{}", file.display());
        return children + 1;
    }
    children
}

/// The files of this kind in these folders, and in theirs. Links are not followed.
fn files(folders: &[&str], extension: &str) -> Vec<PathBuf> {
    let mut folders: Vec<_> = folders.iter().map(|folder| repository().join(folder)).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let entry = entry.expect("an entry");
            match entry.file_type().expect("a type") {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() && entry.path().extension().is_some_and(|it| it == extension) => {
                    files.push(entry.path());
                }
                _ => {}
            }
        }
    }
    files
}

//! Requirements for every configuration that we ship.

use std::path::{Path, PathBuf};

use llm_router_tests::repository;
use serde_json::{Value, json};

const SETTINGS: [&str; 3] = ["normalize_path", "merge_slashes", "path_with_escaped_slashes_action"];

#[test]
fn every_gateway_normalizes_paths_and_has_limits() {
    let (mut found, mut bootstraps) = (0, 0);
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
            let is_bootstrap =
                !document["static_resources"].is_null() || !document["dynamic_resources"].is_null();
            if is_bootstrap && has_limits(&file) {
                bootstraps += 1;
                check_overload(&document["overload_manager"], &file);
            }
        }
    }
    assert!(found >= 18, "only {found} gateways were found");
    assert!(bootstraps >= 20, "only {bootstraps} bootstraps were found");
}

/// Envoy rejects requests before the kubelet ends it.
#[test]
fn the_heap_of_a_pod_is_four_fifths_of_its_memory() {
    let read = |name: &str| -> Vec<Value> {
        let text =
            std::fs::read_to_string(repository().join("k8s/overlays/envoy").join(name)).expect("a file");
        serde_saphyr::from_multiple(&text).expect("YAML")
    };
    let heap = &read("bootstrap.yaml")[0]["overload_manager"]["resource_monitors"][1]["typed_config"]["max_heap_size_bytes"];
    let deployment = &read("gateway.yaml")[0];
    let limit =
        deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"].as_str();
    let limit: u64 = limit.and_then(|it| it.strip_suffix("Mi")).expect("Mi").parse().expect("a number");
    assert_eq!(heap.as_u64().expect("a number") * 5, (limit << 20) * 4);
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

/// Checks all connection managers in it, and Envoy Gateway's policies for clients. Returns their number.
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
        if has_limits(file) {
            for (name, expected) in connection_limits() {
                assert_eq!(value[name], expected, "{name} in {}", file.display());
            }
        }
        return children + 1;
    }
    if has_limits(file) {
        if !value["filter_chains"].is_null() {
            assert_eq!(value["per_connection_buffer_limit_bytes"], 65536, "{}", file.display());
        }
        if !value["request_body_buffer_limit"].is_null() {
            // Envoy applies this limit only where a request matches a route to a cluster before our filter decides.
            let routes = value["routes"].as_array().into_iter().flatten();
            for route in routes {
                assert!(route["direct_response"].is_null(), "{}", file.display());
            }
        }
    }
    if value["kind"] == "ClientTrafficPolicy" {
        let expected = json!({ "disableMergeSlashes": false, "escapedSlashesAction": "UnescapeAndForward" });
        assert_eq!(value["spec"]["path"], expected, "{}", file.display());
        assert_eq!(
            value["spec"]["connection"]["connectionLimit"],
            json!({ "value": 10_000 }),
            "{}",
            file.display()
        );
        assert_eq!(value["spec"]["http2"]["maxConcurrentStreams"], 100, "{}", file.display());
        let expected = json!({ "requestHeadersReceivedTimeout": "10s", "idleTimeout": "10m" });
        assert_eq!(value["spec"]["timeout"]["http"], expected, "{}", file.display());
        return children + 1;
    }
    children
}

/// The steps in `envoy/install` show what changes in an operator's own gateway, whose limits are the operator's.
fn has_limits(file: &Path) -> bool {
    !file.starts_with(repository().join("envoy/install"))
}

/// What a connection manager allows one connection.
fn connection_limits() -> [(&'static str, Value); 3] {
    let http2 = json!({
        "max_concurrent_streams": 100,
        "initial_stream_window_size": 262_144,
        "initial_connection_window_size": 1_048_576,
    });
    [
        ("request_headers_timeout", json!("10s")),
        ("common_http_protocol_options", json!({ "idle_timeout": "600s", "max_headers_count": 100 })),
        ("http2_protocol_options", http2),
    ]
}

/// The limits of all connections and of the heap, and what happens near them.
fn check_overload(manager: &Value, file: &Path) {
    let named = |list: &str, name: &str| -> Value {
        let items = manager[list].as_array().unwrap_or_else(|| panic!("no {list} in {}", file.display()));
        let item = items.iter().find(|it| it["name"].as_str().is_some_and(|it| it.ends_with(name)));
        item.unwrap_or_else(|| panic!("no {name} in {}", file.display())).clone()
    };
    let connections = named("resource_monitors", ".global_downstream_max_connections");
    assert_eq!(
        connections["typed_config"]["max_active_downstream_connections"],
        10_000,
        "{}",
        file.display()
    );
    let heap = named("resource_monitors", ".fixed_heap");
    assert_eq!(heap["typed_config"]["max_heap_size_bytes"], 2_u64 << 30, "{}", file.display());
    assert_eq!(
        manager["buffer_factory_config"]["minimum_account_to_track_power_of_two"],
        20,
        "{}",
        file.display()
    );
    let scaled = |from: f64, to: f64| json!({ "scaling_threshold": from, "saturation_threshold": to });
    for (action, kind, expected) in [
        (".reduce_timeouts", "scaled", scaled(0.85, 0.95)),
        (".shrink_heap", "threshold", json!({ "value": 0.9 })),
        (".reset_high_memory_stream", "scaled", scaled(0.9, 0.98)),
        (".stop_accepting_requests", "threshold", json!({ "value": 0.95 })),
    ] {
        let trigger = &named("actions", action)["triggers"][0];
        assert_eq!(trigger["name"], heap["name"], "{action} in {}", file.display());
        assert_eq!(trigger[kind], expected, "{action} in {}", file.display());
    }
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

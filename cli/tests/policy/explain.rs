//! `explain` as platform engineers use it.

use std::fs;

use serde_json::{Value, json};

use super::{llm_router, text};

fn policy() -> Value {
    json!({
        "sidecar": {"cluster": "llm-router-sidecar"}, "default_policy": "tasks",
        "models": {
            "small": {"cluster": "small", "model": "vendor/small", "capabilities": []},
            "large": {"cluster": "large", "model": "vendor/large", "base_path": "/openai/v1"},
        },
        "aliases": {"gpt-4o": "large"},
        "rules": [
            {"when": {"header": {"x-tenant": "acme"}}, "model": "large"},
            {"when": {"has_images": true}, "policy": "levels"},
        ],
        "policies": {
            "tasks": {
                "classifier": "task", "min_confidence": 0.5, "default": "small",
                "routes": {"Code Generation": "large", "Chatbot": "small"},
            },
            "levels": {"classifier": "complexity", "bands": [{"up_to": 0.4, "model": "small"}, {"model": "large"}]},
        },
    })
}

/// The exit code, standard output and standard error of explaining this request by this policy.
fn run(policy: &Value, request: &Value, flags: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let (policy_file, request_file) = (folder.path().join("policy.yaml"), folder.path().join("request.json"));
    fs::write(&policy_file, policy.to_string()).unwrap();
    fs::write(&request_file, request.to_string()).unwrap();
    let files = [policy_file.to_str().unwrap(), request_file.to_str().unwrap()];
    let output = llm_router(&[&["explain"], &files[..], flags].concat());
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn explained(request: &Value, flags: &[&str]) -> String {
    let (code, out, error) = run(&policy(), request, flags);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    out
}

#[track_caller]
fn outcome(request: &Value, flags: &[&str]) -> Value {
    let out = explained(request, &[flags, &["--json"]].concat());
    serde_json::from_str::<Value>(&out).unwrap()["outcome"].clone()
}

fn say(model: &str, more: Value) -> Value {
    let mut request = json!({"model": model, "messages": [{"role": "user", "content": "Sort a list"}]});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

#[track_caller]
fn assert_lines(out: &str, expected: &[&str]) {
    let squeezed: Vec<_> =
        out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in expected {
        assert!(squeezed.iter().any(|found| found == line), "no line {line:?} in:\n{out}");
    }
}

#[test]
fn every_step_of_a_classified_request_is_printed() {
    let flags = ["--label", "Code Generation", "--confidence", "0.9"];
    assert_lines(
        &explained(&say("auto", json!({})), &flags),
        &[
            "client model \"auto\": rules decide, then the default policy",
            "rule 1: x-tenant: acme: does not match",
            "rule 2: images: true: does not match",
            "policy tasks, by classifier task",
            "prompt \"Sort a list\" (11 characters)",
            "classifier Code Generation 0.900 → large",
            "outcome large by reason classified: cluster large, model vendor/large",
            "set x-llm-cluster: large",
            "set :path: /openai/v1/chat/completions",
        ],
    );
}

#[test]
fn a_prediction_below_the_bar_takes_the_default() {
    let flags = ["--label", "Code Generation", "--confidence", "0.4"];
    let out = explained(&say("auto", json!({})), &flags);
    assert_lines(
        &out,
        &["classifier Code Generation 0.400 is below the confidence of 0.5", "default → small"],
    );
    let out = explained(&say("auto", json!({})), &[]);
    assert_lines(&out, &["classifier is unavailable", "default → small"]);
}

#[test]
fn rules_headers_and_scores_count() {
    let outcome_of = |request: &Value, flags: &[&str]| {
        let outcome = outcome(request, flags);
        (outcome["model"].as_str().unwrap().to_owned(), outcome["reason"].as_str().unwrap().to_owned())
    };
    let pair = |model: &str, reason: &str| (model.to_owned(), reason.to_owned());
    let plain = say("auto", json!({}));
    assert_eq!(outcome_of(&plain, &["--header", "X-Tenant: acme"]), pair("large", "rule"));
    let levels = say("levels", json!({}));
    assert_eq!(
        outcome_of(&levels, &["--score", "0.7", "--dimension", "reasoning=0.9"]),
        pair("large", "classified")
    );
    assert_eq!(outcome_of(&levels, &["--score", "0.2"]), pair("small", "classified"));
    assert_eq!(outcome_of(&say("gpt-4o", json!({})), &[]), pair("large", "alias"));
}

#[test]
fn a_model_that_cannot_take_the_request_is_named_with_the_fallback() {
    let request = say("auto", json!({"tools": [{"type": "function"}]}));
    let out = explained(&request, &["--label", "Chatbot"]);
    assert_lines(
        &out,
        &[
            "classifier Chatbot 1.000 → small",
            "unable small does not support the capability tools",
            "fallback large takes the request instead",
        ],
    );
}

#[test]
fn a_request_that_is_rejected_or_not_routed_is_explained_too() {
    let rejected = outcome(&json!({"model": "auto"}), &[]);
    assert_eq!((&rejected["action"], &rejected["status"]), (&json!("respond"), &json!(400)));
    assert_eq!(rejected["body"]["error"]["param"], "messages");
    let other = outcome(&say("auto", json!({})), &["--path", "/v1/files"]);
    assert_eq!(other, json!({"action": "untouched"}));
}

#[test]
fn a_policy_in_shadow_mode_is_explained_as_if_it_were_applied() {
    let mut shadow = policy();
    shadow["mode"] = json!("shadow");
    let flags = ["--label", "Code Generation", "--json"];
    let (code, out, _) = run(&shadow, &say("auto", json!({})), &flags);
    let outcome: Value = serde_json::from_str::<Value>(&out).unwrap()["outcome"].clone();
    assert_eq!(
        (code, &outcome["model"], &outcome["reason"], &outcome["applied"]),
        (0, &json!("large"), &json!("classified"), &json!(false))
    );
}

#[test]
fn a_rejection_in_shadow_mode_is_only_reported() {
    let mut shadow = policy();
    shadow["mode"] = json!("shadow");
    let (_, out, _) = run(&shadow, &json!({"model": "auto"}), &["--json"]);
    let outcome: Value = serde_json::from_str::<Value>(&out).unwrap()["outcome"].clone();
    assert_eq!((&outcome["status"], &outcome["applied"]), (&json!(400), &json!(false)));
}

#[test]
fn a_threshold_after_a_policys_name_is_explained() {
    let out = explained(&say("levels:0.8", json!({})), &["--score", "0.7"]);
    assert_lines(
        &out,
        &[
            "client model \"levels\": the policy levels",
            "client sets the threshold 0.8",
            "classifier score 0.700 with the request's bound 0.8 → small",
        ],
    );
}

#[test]
fn wrong_input_is_an_error_that_names_it() {
    let request = say("auto", json!({}));
    for (flags, problem) in [
        (&["--label", "x", "--confidence", "2"][..], "--label, --confidence"),
        (&["--score", "7"], "--score"),
        (&["--header", "nothing"], "expected NAME: VALUE"),
        (&["--score", "0.5", "--dimension", "a=b"], "not a number"),
    ] {
        let (code, _, error) = run(&policy(), &request, flags);
        assert!(code != 0 && error.contains(problem), "{flags:?}: {error}");
    }
    let (code, _, error) = run(&json!({"kind": "Deployment"}), &request, &[]);
    assert!(code == 1 && error.contains("no policy"), "{error}");
    let output = llm_router(&["explain", "no-such-file", "request.json"]);
    assert!(!output.status.success() && text(&output.stderr).contains("no-such-file"));
}

#[test]
fn the_edits_of_the_models_body_are_shown() {
    let mut policy = policy();
    policy["models"]["large"]["body"] = json!({"set": {"reasoning_effort": "high"}, "remove": ["seed"]});
    let (code, out, _) = run(&policy, &say("large", json!({})), &[]);
    assert_eq!(code, 0);
    assert!(out.contains("set reasoning_effort to \"high\", remove seed\n"), "{out}");
}

#[test]
fn a_request_that_is_not_routed_loses_its_routing_metadata_only() {
    let mut policy = policy();
    policy["on_unknown_model"] = json!("passthrough");
    for (more, expected) in [
        (json!({}), "forwarded unchanged: its model is not configured"),
        (json!({"nim-llm-router": {}}), "forwarded without nim-llm-router: its model is not configured"),
    ] {
        let (code, out, _) = run(&policy, &say("gpt-99", more), &[]);
        assert_eq!(code, 0);
        assert!(out.contains(expected), "{out}");
    }
}

#[test]
fn what_envoy_knows_is_given_by_flags() {
    let mut policy = policy();
    policy["rules"] = json!([
        {"when": {"attribute": {"xds.route_name": ["llms", "chat"], "source.address": "10.0.0.0/8", "source.port": 443}},
            "model": "small"},
        {"when": {"attribute": {"connection.mtls": true, "connection.uri_san_peer_certificate": {"prefix": "spiffe://a/"}}},
            "model": "small"},
        {"when": {"metadata": {"envoy.filters.http.jwt_authn": {"payload": {"groups": ["ops", "dev"], "level": 3}}}},
            "model": "large"},
    ]);
    let request = say("auto", json!({}));
    let explained = |flags: &[&str]| run(&policy, &request, &[flags, &["--label", "Chatbot"]].concat());
    let claims = r#"envoy.filters.http.jwt_authn={"payload": {"groups": ["dev"], "level": 3}}"#;
    let (code, out, error) = explained(&[
        "--attribute",
        "xds.route_name=llms",
        "--attribute",
        "source.address=11.0.0.1",
        "--attribute",
        "source.port=443",
        "--attribute",
        "connection.mtls=true",
        "--metadata",
        claims,
    ]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert_lines(
        &out,
        &[
            "rule 1: source.address in 10.0.0.0/8, source.port is 443, xds.route_name is llms or chat: does not match",
            "rule 2: connection.mtls is true, connection.uri_san_peer_certificate is spiffe://a/…: does not match",
            "rule 3: envoy.filters.http.jwt_authn payload.groups is ops or dev, \
             envoy.filters.http.jwt_authn payload.level is 3: matches → large",
            "outcome large by reason rule: cluster large, model vendor/large",
        ],
    );
    for (flag, value, problem) in [
        ("--attribute", "xds.route=a", "unknown attribute \"xds.route\"; supported: xds.route_name, "),
        ("--attribute", "xds.route_name", "expected NAME=VALUE"),
        ("--attribute", "source.port=many", "the port must be a number from 0 to 65535"),
        ("--attribute", "connection.mtls=1", "the value must be true or false"),
        ("--metadata", "jwt", "expected NAMESPACE=JSON"),
        ("--metadata", "jwt={", "EOF while parsing"),
        ("--metadata", "jwt=[]", "the metadata of a namespace must be a JSON object"),
    ] {
        let (code, _, error) = explained(&[flag, value]);
        assert!(code == 2 && error.contains(problem), "{error}");
    }
}

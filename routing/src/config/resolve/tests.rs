mod examples;
mod parts;

use serde_json::{Value, json};

use crate::config::{Config, Name, OnFailure, OnUnknownModel};

fn valid() -> Value {
    json!({
        "sidecar": {"cluster": "llm-router-sidecar"},
        "default_policy": "task_router",
        "models": {
            "llama-8b": {"cluster": "llama-8b", "model": "meta/llama-3.1-8b-instruct"},
            "nemotron": {"cluster": "nemotron", "model": "nvidia/nemotron"},
        },
        "aliases": {"gpt-4o": "nemotron"},
        "policies": {
            "task_router": {
                "classifier": "task",
                "routes": {"Code Generation": "nemotron"},
                "default": "llama-8b",
            },
        },
    })
}

fn load(value: &Value) -> Result<Config, String> {
    Config::from_json(value.to_string().as_bytes()).map_err(|error| error.to_string())
}

/// The error of the valid configuration with the value at `pointer` replaced.
fn error_with(pointer: &str, value: Value) -> String {
    let mut config = valid();
    *config.pointer_mut(pointer).unwrap() = value;
    load(&config).unwrap_err()
}

/// The error of the valid configuration with this member added to the object at `pointer`.
fn error_of(pointer: &str, name: &str, value: Value) -> String {
    let mut config = valid();
    config.pointer_mut(pointer).unwrap()[name] = value;
    load(&config).unwrap_err()
}

#[test]
fn what_is_not_written_has_a_documented_default() {
    let config = load(&valid()).unwrap();
    assert_eq!(config.sidecar.timeout.as_millis(), 200);
    assert_eq!(config.sidecar.on_failure, OnFailure::Default);
    assert_eq!(config.on_unknown_model, OnUnknownModel::Route);
    assert_eq!((config.cluster_header.as_str(), config.model_header.as_deref()), ("x-llm-cluster", None));
    assert_eq!((config.limits.max_body, config.prompt.limit), (8 << 20, 16 << 10));
}

#[test]
fn sizes_and_times_have_units() {
    let mut config = valid();
    config["sidecar"]["timeout"] = json!("1s 500ms");
    config["limits"] = json!({"max_body": "4MiB", "classify_text": 2048});
    let config = load(&config).unwrap();
    assert_eq!(config.sidecar.timeout.as_millis(), 1500);
    assert_eq!((config.limits.max_body, config.prompt.limit), (4 << 20, 2048));
}

#[test]
fn a_name_means_a_model_an_alias_a_policy_or_auto() {
    let config = load(&valid()).unwrap();
    assert!(matches!(config.name("auto"), Some(Name::Auto)));
    assert!(matches!(config.name("nemotron"), Some(Name::Model(model)) if model.cluster == "nemotron"));
    assert!(matches!(config.name("gpt-4o"), Some(Name::Alias(model)) if model.cluster == "nemotron"));
    assert!(matches!(config.name("task_router"), Some(Name::Policy(_))));
    assert!(config.name("gpt-5").is_none());
}

#[test]
fn an_unknown_field_is_an_error_with_its_path() {
    let error = error_with("/sidecar", json!({"cluster": "c", "timout": "1s"}));
    assert!(error.starts_with("sidecar.timout: unknown field `timout`"), "{error}");
}

#[test]
fn a_wrong_model_name_is_an_error_with_its_path_and_the_right_names() {
    let error = error_with("/policies/task_router/routes/Code Generation", json!("nemotrom"));
    assert_eq!(
        error,
        r#"policies.task_router.routes."Code Generation": no model "nemotrom"; configured: llama-8b, nemotron"#
    );
    let error = error_with("/default_policy", json!("other"));
    assert_eq!(error, r#"default_policy: no policy "other"; configured: task_router"#);
    assert!(error_with("/aliases/gpt-4o", json!("x")).starts_with("aliases.gpt-4o: no model \"x\""));
}

#[test]
fn values_out_of_bounds_are_errors() {
    for (pointer, value, expected) in [
        ("/sidecar", json!({"cluster": "c", "timeout": "0s"}), "sidecar.timeout: 0ns must be between"),
        (
            "/sidecar",
            json!({"cluster": "c", "timeout": "5 parsecs"}),
            "sidecar.timeout: \"5 parsecs\" is not",
        ),
        ("/sidecar/cluster", json!(""), "sidecar.cluster: must not be empty"),
        ("/models/nemotron/model", json!(""), "models.nemotron.model: must not be empty"),
        ("/models", json!({"a\nb": {"cluster": "c", "model": "m"}}), r#"models."a\nb": the name must be"#),
    ] {
        let error = error_with(pointer, value);
        assert!(error.starts_with(expected), "{error}");
    }
    let mut config = valid();
    config["limits"] = json!({"max_body": "1TiB"});
    assert!(load(&config).unwrap_err().starts_with("limits.max_body: 1.0 TiB must be between"));
    config = valid();
    config["policies"]["task_router"]["min_confidence"] = json!(1.5);
    assert!(load(&config).unwrap_err().starts_with("policies.task_router.min_confidence: 1.5 must be"));
}

#[test]
fn the_headers_for_routes_are_headers_of_their_own() {
    for field in ["cluster_header", "model_header"] {
        for name in [":authority", "X-Model", "a b", ""] {
            assert!(
                error_of("", field, json!(name)).starts_with(&format!("{field}: {name:?} must be a header"))
            );
        }
        for name in [
            "host",
            "te",
            "authorization",
            "x-api-key",
            "cookie",
            "content-length",
            "x-llm-policy",
            "x-llm-task",
            "x-llm-task-confidence",
            "x-llm-",
            "x-llm-router-model",
            "x-envoy-attempt-count",
            "x-forwarded-for",
            "forwarded",
            "x-request-id",
        ] {
            let error = error_of("", field, json!(name));
            assert_eq!(error, format!("{field}: {name:?} is reserved; choose another header"));
        }
    }
    for name in ["x-llm-cluster", "x-llm-model", "x-gateway-model-name", "x-forward", "x-target"] {
        let mut config = valid();
        config["cluster_header"] = json!(name);
        assert_eq!(load(&config).unwrap().cluster_header, name);
    }
    let error = error_of("", "model_header", json!("session-id"));
    assert!(error.starts_with("model_header: \"session-id\" identifies conversations"), "{error}");
    for stickiness in [json!({"header": "x-chat"}), json!({"identity": [{"header": "x-chat"}], "entries": 0})]
    {
        for field in ["cluster_header", "model_header"] {
            let mut config = valid();
            config["stickiness"] = stickiness.clone();
            config[field] = json!("x-chat");
            let expected = format!("{field}: \"x-chat\" identifies conversations; choose another header");
            assert_eq!(load(&config).unwrap_err(), expected);
        }
    }
    let error = error_of("", "model_header", json!("x-llm-cluster"));
    assert_eq!(error, "model_header: \"x-llm-cluster\" is also cluster_header; choose another header");
    let mut config = valid();
    config["models"]["nemotron"]["model"] = json!("nemo\ntron");
    assert!(load(&config).is_ok());
    config["model_header"] = json!("x-gateway-model-name");
    assert!(
        load(&config)
            .unwrap_err()
            .starts_with("models.nemotron.model: the name must be one or more printable")
    );
    config["models"]["nemotron"]["model"] = json!("nvidia/nemotron");
    assert_eq!(load(&config).unwrap().model_header.as_deref(), Some("x-gateway-model-name"));
}

#[test]
fn one_name_has_one_meaning() {
    let mut config = valid();
    config["aliases"] = json!({"nemotron": "llama-8b"});
    assert_eq!(load(&config).unwrap_err(), "aliases.nemotron: the name is already used by a model");
    config["aliases"] = json!({"auto": "llama-8b"});
    assert!(load(&config).unwrap_err().starts_with("aliases.auto: the name is already used by \"auto\""));
}

#[test]
fn what_is_not_json_or_goes_on_after_it_is_rejected() {
    assert!(Config::from_json(b"{").is_err());
    assert!(Config::from_json(format!("{} x", valid()).as_bytes()).is_err());
}

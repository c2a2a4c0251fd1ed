//! Requests that the admin API explains, and policies that it outlines.

use serde_json::{Value, json};

use crate::admin::post;
use crate::sidecar::{Sidecar, minilm};

const MODELS: [&str; 4] = ["small", "large", "coder", "eyes"];

fn policy() -> Value {
    json!({
        "sidecar": {"cluster": "c", "timeout": "60s"}, "default_policy": "tasks", "failover": true,
        "models": {
            "small": {"cluster": "s", "model": "vendor/small", "capabilities": ["json"], "cost": {"input": 1, "output": 2}},
            "large": {"cluster": "l", "model": "vendor/large", "cost": {"input": 10, "output": 20},
                "body": {"set": {"metadata.key": "a-secret-value"}}},
            "coder": {"cluster": "c", "model": "vendor/coder", "context": "4k"},
            "eyes": {"cluster": "e", "model": "vendor/eyes", "capabilities": ["images"]},
        },
        "aliases": {"gpt-4o": "large"},
        "rules": [
            {"when": {"header": {"x-tenant": "acme"}}, "model": "large"},
            {"name": "guard", "when": {"text_matches": "forbidden"}, "reject": {"status": 403, "message": "Not here."}},
            {"when": {"all": [{"complexity": {"above": 0.99}}, {"has_tools": true}]}, "model": "coder"},
        ],
        "policies": {
            "tasks": {"classifier": "task", "min_confidence": 0.3, "default": "small", "fallback": ["large", "eyes"],
                "routes": {"Code Generation": "coder", "Open QA": [{"model": "small", "weight": 1}, {"model": "large", "weight": 1}]}},
            "levels": {"classifier": "complexity", "bands": [{"up_to": 0.3, "model": "small"}, {"model": "large"}]},
            "absent": {"classifier": "no-such-head", "routes": {}, "default": "large"},
        },
    })
}

async fn with_policy(policy: &Value) -> Sidecar {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.json"), policy.to_string()).unwrap();
    let model = minilm();
    Sidecar::start(folder, &["--model", model.to_str().unwrap(), "--policy", "policy.json"], &[]).await
}

async fn without_policy() -> Sidecar {
    let model = minilm();
    Sidecar::start(tempfile::tempdir().unwrap(), &["--model", model.to_str().unwrap()], &[]).await
}

fn chat(model: &str, prompt: &str, more: &Value) -> Value {
    let mut request = json!({"model": model, "messages": [{"role": "user", "content": prompt}]});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

async fn explain(sidecar: &Sidecar, input: &Value) -> Value {
    let (status, explanation) = post(sidecar, "/v1/explain", &input.to_string()).await;
    assert_eq!(status, 200, "{explanation}");
    explanation
}

/// Bodies that are routed, rejected or left alone in all ways.
fn requests() -> Vec<Value> {
    let prompts = [
        "Write a Python function that merges two sorted lists.",
        "Hi!",
        "forbidden",
        "  ",
        "Why is the sky blue?",
    ];
    let names = [
        "auto",
        "tasks",
        "levels",
        "levels:0.9",
        "absent",
        "small",
        "gpt-4o",
        "no-such-model",
        "levels:7",
        "",
    ];
    let more = [
        json!({}),
        json!({"tools": [{"type": "function", "function": {"name": "f"}}]}),
        json!({"max_tokens": 100_000}),
        json!({"nim-llm-router": {"policy": "levels"}}),
    ];
    let mut all: Vec<_> = prompts
        .iter()
        .flat_map(|prompt| names.iter().map(move |name| (prompt, name)))
        .enumerate()
        .map(|(index, (prompt, name))| chat(name, prompt, &more[index % more.len()]))
        .collect();
    let image = json!([{"type": "image_url", "image_url": {"url": "data:"}}, {"type": "text", "text": "What is this?"}]);
    all.extend([
        json!({}),
        json!([]),
        json!({"model": 7}),
        json!({"messages": 7}),
        json!({"messages": [{"role": "user", "content": image}]}),
    ]);
    all
}

#[tokio::test]
async fn an_explanation_ends_where_the_request_is_routed() {
    let sidecar = with_policy(&policy()).await;
    let (mut forwarded, mut rejected) = (0, 0);
    for request in requests() {
        let (status, routed) = post(&sidecar, "/v1/route", &request.to_string()).await;
        let explanation = explain(&sidecar, &json!({"request": request})).await;
        let outcome = &explanation["outcome"];
        let chosen: Vec<_> = explanation["models"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|model| model["standing"] == "chosen")
            .collect();
        match outcome["action"].as_str().unwrap() {
            "forward" => {
                assert_eq!(status, 200, "{request}: {routed}");
                for field in ["model", "upstream_model", "cluster", "policy", "label", "reason"] {
                    assert_eq!(outcome[field], routed[field], "{request}: {field}");
                }
                assert_eq!((chosen.len(), &chosen[0]["name"]), (1, &routed["model"]), "{request}");
                forwarded += 1;
            }
            "respond" => {
                assert_eq!((&outcome["status"], &outcome["body"]), (&json!(status), &routed), "{request}");
                assert!(chosen.is_empty(), "{request}");
                rejected += 1;
            }
            action => panic!("{action}: {request}"),
        }
        let steps = explanation["steps"].as_array().unwrap();
        assert!(
            steps.iter().all(|step| step["text"].is_string() && step["kind"].is_string()),
            "{explanation}"
        );
        assert_eq!(explanation["models"].as_array().unwrap().len(), MODELS.len());
    }
    assert!(forwarded > 20 && rejected > 10, "{forwarded} forwarded, {rejected} rejected");
}

#[tokio::test]
async fn headers_paths_and_costs_count() {
    let sidecar = with_policy(&policy()).await;
    let request = chat("auto", "Hi!", &json!({}));
    let by_tenant = explain(&sidecar, &json!({"request": request, "headers": {"X-Tenant": "acme"}})).await;
    assert_eq!(
        (&by_tenant["outcome"]["model"], &by_tenant["outcome"]["reason"]),
        (&json!("large"), &json!("rule"))
    );
    let by_policy =
        explain(&sidecar, &json!({"request": request, "headers": {"x-llm-policy": "absent"}})).await;
    assert_eq!(by_policy["outcome"]["reason"], "classifier_unavailable", "{by_policy}");
    let steps = by_policy["steps"].as_array().unwrap();
    assert!(
        steps
            .iter()
            .any(|step| step["kind"] == "note" && step["text"].as_str().unwrap().contains("no-such-head"))
    );
    let elsewhere = explain(&sidecar, &json!({"request": request, "path": "/v1/files"})).await;
    assert_eq!(elsewhere["outcome"]["action"], "untouched");

    let costs = |explanation: &Value| -> Vec<Value> {
        explanation["models"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| model["estimated_cost"].clone())
            .collect()
    };
    let explanation = explain(&sidecar, &json!({"request": request, "completion_tokens": 1_000_000})).await;
    let prompt_tokens = explanation["prompt_tokens"].as_f64().unwrap();
    assert!(prompt_tokens >= 1.0);
    let small =
        explanation["models"].as_array().unwrap().iter().find(|model| model["name"] == "small").unwrap();
    let expected = 2.0 + prompt_tokens / 1e6;
    assert!((small["estimated_cost"].as_f64().unwrap() - expected).abs() < 1e-9, "{small}");
    assert!(costs(&explanation).contains(&Value::Null), "some models have no price");
}

#[tokio::test]
async fn all_heads_are_shown_for_what_is_classified() {
    let sidecar = with_policy(&policy()).await;
    let prompt = "Write a Python function that merges two sorted lists.";
    for (request, decides) in
        [(chat("auto", prompt, &json!({})), true), (chat("small", prompt, &json!({})), false)]
    {
        let explanation = explain(&sidecar, &json!({"request": request})).await;
        let text = &explanation["texts"][0];
        assert_eq!((&text["text"], &text["decides"]), (&json!(prompt), &json!(decides)), "{text}");
        assert!(
            text["read"]["tokens"].as_u64().unwrap() > 5 && text["took_ms"].as_f64().unwrap() > 0.0,
            "{text}"
        );
        let (_, classified) = post(&sidecar, "/v1/classify", &json!({"input": prompt}).to_string()).await;
        let heads = text["predictions"].as_object().unwrap();
        assert_eq!(heads.len() + 1, classified.as_object().unwrap().len(), "beside what was read");
        for (head, prediction) in heads {
            assert_eq!(prediction, &classified[head], "{head}");
        }
    }
    let blank = explain(&sidecar, &json!({"request": chat("auto", " ", &json!({}))})).await;
    assert_eq!(blank["texts"], json!([]));
}

#[tokio::test]
async fn a_policy_in_shadow_mode_is_explained_and_its_secrets_are_not() {
    let mut shadow = policy();
    shadow["mode"] = json!("shadow");
    let sidecar = with_policy(&shadow).await;
    let explanation = explain(&sidecar, &json!({"request": chat("large", "Hi!", &json!({}))})).await;
    assert_eq!(
        (&explanation["outcome"]["model"], &explanation["outcome"]["applied"]),
        (&json!("large"), &json!(false))
    );
    let outline =
        sidecar.admin("GET /v1/policy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(outline.contains(r#""mode":"shadow""#) && outline.contains("metadata.key"), "{outline}");
    for text in [outline, explanation.to_string()] {
        assert!(!text.contains("a-secret-value"), "{text}");
    }
}

#[tokio::test]
async fn a_sidecar_without_a_policy_explains_by_one_that_is_sent() {
    let sidecar = without_policy().await;
    let request = chat("auto", "Write a Python function that merges two sorted lists.", &json!({}));
    let alone = explain(&sidecar, &json!({"request": request})).await;
    assert_eq!(
        (&alone["outcome"], &alone["steps"], &alone["models"]),
        (&Value::Null, &json!([]), &json!([]))
    );
    assert!(alone["texts"][0]["predictions"]["task"]["label"].is_string(), "{alone}");
    let missing =
        sidecar.admin("GET /v1/policy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(missing.starts_with("HTTP/1.1 404"), "{missing}");

    let policy = policy().to_string();
    let given = explain(&sidecar, &json!({"request": request, "policy": policy})).await;
    assert_eq!(given["outcome"]["model"], "coder", "{given}");
    let (status, outline) = post(&sidecar, "/v1/policy", &json!({"policy": policy}).to_string()).await;
    assert_eq!((status, outline["models"].as_array().unwrap().len()), (200, MODELS.len()));
    let by_examples = "sidecar: {cluster: c}\ndefault_policy: p\nmodels: {a: {cluster: a, model: a}, b: {cluster: b, model: b}}\n\
        policies: {p: {classifier: examples, default: a, routes: {\
        code: {model: b, examples: [write a Python function]}, chat: {model: a, examples: [how are you]}}}}";
    let by_examples = explain(&sidecar, &json!({"request": request, "policy": by_examples})).await;
    assert_eq!(by_examples["outcome"]["label"], "code", "{by_examples}");
    assert!(by_examples["texts"][0]["predictions"]["examples"]["scores"]["chat"].is_number());
}

#[tokio::test]
async fn wrong_input_is_an_error_that_names_it() {
    let sidecar = with_policy(&policy()).await;
    let request = chat("auto", "Hi!", &json!({}));
    let too_long = format!("# {}\n{}", "x".repeat(256 << 10), policy());
    let more = format!("more: [{}]\n", ["*text"; 98].join(", "));
    let nested = (0..6).fold("default_policy: policies\n".to_owned(), |inner, _| {
        format!("text: &text |\n  {}\n{more}", inner.replace('\n', "\n  "))
    });
    for (input, expected, param, reason) in [
        (
            json!({"request": request, "policy": nested}),
            400,
            json!("policy"),
            "more than 2 levels of strings",
        ),
        (json!({"request": request, "policy": "policies: {}"}), 400, json!("policy"), "missing field"),
        (json!({"request": request, "policy": "a: ["}), 400, json!("policy"), "YAML"),
        (json!({"request": request, "policy": too_long}), 413, json!("policy"), "262144"),
        (json!({"request": request, "headers": {"a b": "c"}}), 400, json!("headers"), "a b"),
        (json!({"request": request, "headers": {":path": "/"}}), 400, json!("headers"), ":path"),
        (json!({"request": request, "headers": {"a": "b\nc"}}), 400, json!("headers"), "control"),
        (json!({"request": request, "completion_tokens": -1}), 422, Value::Null, "completion_tokens"),
        (json!({"request": request, "policy_file": "/etc/passwd"}), 422, Value::Null, "policy_file"),
        (json!({"policy": "x"}), 422, Value::Null, "request"),
    ] {
        let (status, answer) = post(&sidecar, "/v1/explain", &input.to_string()).await;
        assert_eq!((status, &answer["error"]["param"]), (expected, &param), "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(reason), "{answer}");
    }
    let (status, answer) =
        post(&sidecar, "/v1/policy", &json!({"policy": "kind: Deployment"}).to_string()).await;
    assert!(status == 400 && answer["error"]["message"].as_str().unwrap().contains("no policy"), "{answer}");
    let (status, answer) = post(&sidecar, "/v1/policy", &json!({"policy": nested}).to_string()).await;
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("policy")), "{answer}");
    let huge = format!("{{\"request\": \"{}", "x".repeat(1 << 20));
    let request = format!(
        "POST /v1/explain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: 2000000\r\n\r\n{huge}"
    );
    assert_eq!(sidecar.admin_status(&request).await, "HTTP/1.1 413");
}

/// A policy whose rules match these expressions.
fn with_expressions(expressions: &[String], classify_text: &str) -> String {
    let rules = expressions.iter().map(|it| json!({"when": {"text_matches": it}, "model": "large"}));
    let mut policy = policy();
    policy["rules"] = rules.collect();
    policy["limits"] = json!({"classify_text": classify_text});
    policy.to_string()
}

#[tokio::test]
async fn a_policy_that_is_sent_has_limits_on_its_rules_and_expressions() {
    let sidecar = with_policy(&policy()).await;
    let rules = |expression: &str, count| vec![expression.to_owned(); count];
    for (expressions, limit) in [
        (rules("x", 201), "201 rules; the maximum for a policy in a request is 200"),
        (
            rules(&"x{10000}".repeat(20), 125),
            "20000 bytes in all; the maximum for a policy in a request is 16384",
        ),
        (rules("x{10000}", 200), "more than 524288 bytes in all"),
        (rules("(?:a?){4000}b", 40), "more than 524288 bytes in all"),
    ] {
        let policy = with_expressions(&expressions, "1MiB");
        let request = chat("auto", "Hi!", &json!({}));
        for (path, input) in [
            ("/v1/explain", json!({"request": request, "policy": policy})),
            ("/v1/policy", json!({"policy": policy})),
        ] {
            let (status, answer) = post(&sidecar, path, &input.to_string()).await;
            assert_eq!((status, &answer["error"]["param"]), (400, &json!("policy")), "{answer}");
            assert!(answer["error"]["message"].as_str().unwrap().contains(limit), "{answer}");
        }
    }
    let policy = with_expressions(&rules(r"(?i)\b(sql|[a-z]{2,8}_id)\b", 60), "16KiB");
    let request = chat("auto", &"a".repeat(60_000), &json!({}));
    explain(&sidecar, &json!({"request": request, "policy": policy})).await;
}

#[tokio::test]
async fn a_long_text_is_not_searched_for_large_expressions_of_a_policy_that_is_sent() {
    let sidecar = with_policy(&policy()).await;
    let expressions = ["(?:a?){4000}b".to_owned()];
    let request = chat("auto", &"a".repeat(900_000), &json!({}));
    let input = json!({"request": request, "policy": with_expressions(&expressions, "1MiB")});
    let (status, answer) = post(&sidecar, "/v1/explain", &input.to_string()).await;
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("policy")), "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("limits.classify_text"), "{answer}");
    let input = json!({"request": request, "policy": with_expressions(&expressions, "16KiB")});
    explain(&sidecar, &input).await;
}

/// Both explanations evaluate a policy whose expression is as expensive as the limits allow.
#[tokio::test]
async fn slow_rules_of_a_policy_that_is_sent_do_not_delay_others() {
    let sidecar = with_policy(&policy()).await;
    let policy = with_expressions(&["(?:a?){4000}b".to_owned()], "32KiB");
    let input =
        json!({"request": chat("auto", &"a".repeat(60_000), &json!({})), "policy": policy}).to_string();
    let length = input.len();
    let request = format!(
        "POST /v1/explain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{input}"
    );
    let explanations = async { tokio::join!(sidecar.admin(&request), sidecar.admin(&request)) };
    tokio::pin!(explanations);
    let mut probes = 0;
    let (first, second) = loop {
        tokio::select! {
            biased;
            explained = &mut explanations => break explained,
            health = sidecar.admin("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") => {
                assert!(health.ends_with("ok\n"), "{health}");
                probes += 1;
            }
        }
    };
    for explained in [first, second] {
        assert!(explained.starts_with("HTTP/1.1 200"), "{explained}");
    }
    assert!(probes > 10, "only {probes} responses while explanations were in progress");
}

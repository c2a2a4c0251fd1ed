//! Dry runs and classifications by the admin API.

use serde_json::{Value, json};

use crate::sidecar::{Sidecar, minilm};

#[tokio::test]
async fn a_dry_run_uses_the_headers_of_the_request() {
    let folder = tempfile::tempdir().unwrap();
    let policy = json!({
        "sidecar": {"cluster": "c", "timeout": "60s"}, "default_policy": "p",
        "models": {"small": {"cluster": "s", "model": "vendor/small"}, "coder": {"cluster": "c", "model": "m"}},
        "policies": {"p": {"classifier": "task", "routes": {"Code Generation": "coder"}, "default": "small"}},
    });
    std::fs::write(folder.path().join("policy.json"), policy.to_string()).unwrap();
    let model = minilm();
    let arguments = ["--model", model.to_str().unwrap(), "--policy", "policy.json"];
    let sidecar = Sidecar::start(folder, &arguments, &[]).await;
    let chat = |model: &str| {
        let prompt = "Write a Python function that merges two sorted lists.";
        json!({"model": model, "messages": [{"role": "user", "content": prompt}]}).to_string()
    };
    let (status, answer) = post(&sidecar, "/v1/route", &chat("auto")).await;
    assert_eq!(status, 200, "{answer}");
    for (field, value) in [("model", "coder"), ("cluster", "c"), ("policy", "p"), ("reason", "classified")] {
        assert_eq!(answer[field], value, "{answer}");
    }
    assert_eq!(answer["label"], "Code Generation");
    let (_, answer) = post(&sidecar, "/v1/route", &chat("small")).await;
    assert_eq!((&answer["model"], &answer["reason"]), (&json!("small"), &json!("manual")));
    let (_, answer) = post(&sidecar, "/v1/route", &chat("auto")).await;
    assert_eq!(answer["reason"], "classified", "nothing is cached");
    let (status, error) = post(&sidecar, "/v1/route", "{}").await;
    assert_eq!((status, &error["error"]["type"]), (400, &json!("invalid_request_error")), "{error}");
    let metrics = sidecar.metrics().await;
    let counted = "llm_router_sidecar_requests_total{outcome=\"classified\"} 0";
    assert!(metrics.contains(counted), "dry runs are not counted: {metrics}");
}

/// The status and the JSON of the response to a body.
pub(crate) async fn post(sidecar: &Sidecar, path: &str, body: &str) -> (u16, Value) {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = sidecar.admin(&request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}")))
}

#[tokio::test]
async fn a_text_is_classified_and_invalid_input_is_rejected() {
    let model = minilm();
    let arguments = ["--model", model.to_str().unwrap()];
    let sidecar = Sidecar::start(tempfile::tempdir().unwrap(), &arguments, &[]).await;
    let prompt = json!({"input": "Write a Python function that merges two sorted lists."}).to_string();
    let (status, answer) = post(&sidecar, "/v1/classify", &prompt).await;
    assert_eq!((status, &answer["task"]["label"]), (200, &json!("Code Generation")), "{answer}");
    let (status, _) = post(&sidecar, "/v1/route", "{}").await;
    assert_eq!(status, 404, "there is no policy");
    assert_eq!(answer["task"]["scores"].as_object().unwrap().len(), 12);
    let note = answer["win-rate"]["note"].as_str().unwrap();
    assert!(note.contains("grades of your own") && answer["task"]["note"].is_null(), "{answer}");

    for (body, status, reason) in [
        (r#"{"input": "  "}"#, 400, "must contain text"),
        (r#"{"text": "hi"}"#, 422, "input"),
        (r#"{"input": "hi", "context": "ho"}"#, 422, "context"),
        ("hi", 400, "JSON"),
    ] {
        let (answered, error) = post(&sidecar, "/v1/classify", body).await;
        assert_eq!(answered, status, "{error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(reason), "{error}");
    }
    let huge = "POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Connection: close\r\nContent-Length: 2000000\r\n\r\n";
    // The sidecar stops reading as soon as the body is too long.
    let huge = format!("{huge}{}", "x".repeat((1 << 20) + 1));
    assert_eq!(sidecar.admin_status(&huge).await, "HTTP/1.1 413");
}

//! What operators see: Prometheus stats with labels, and an access log in JSON.

use std::collections::HashMap;

use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::fakes::scripted_sidecar::{by_classifier, labelled, unpredictable};
use llm_router_tests::host::Host;
use llm_router_tests::{for_each_host, poll};
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{assert_routed, without_sidecar};

#[apply(for_each_host!)]
async fn requests_are_counted_by_policy_model_reason_and_label(host: Host) {
    let gateway = start(host, |it| {
        it["cache"] = json!({ "entries": 100 });
        it["models"]["vendor.model-3.1"] = json!({ "cluster": "llama-70b", "model": "m" });
        it["policies"]["my.policy"] =
            json!({ "classifier": "task", "routes": {}, "default": "vendor.model-3.1" });
    })
    .await;
    let (code, poetry) = (labelled("Code Generation"), labelled("Poetry"));
    for (model, prompt) in [
        ("auto", code.as_str()),
        ("auto", &code),
        ("auto", &poetry),
        ("auto", &poetry),
        ("auto", &unpredictable()),
        ("my.policy", &code),
        ("vendor.model-3.1", "Hi"),
    ] {
        assert_eq!(gateway.send(Request::chat(chat(model, prompt))).await.status, 200);
    }
    let expected = [
        (requests("nemotron", "task_router", "classified"), 1),
        (requests("nemotron", "task_router", "cached"), 1),
        (requests("llama-8b", "task_router", "default"), 2),
        (requests("llama-8b", "task_router", "classifier_unavailable"), 1),
        (requests("vendor.model-3.1", "my.policy", "default"), 1),
        (requests("vendor.model-3.1", "none", "manual"), 1),
        (labels("task_router", "Code Generation"), 2),
        (labels("task_router", "unrouted"), 2),
        (labels("my.policy", "unrouted"), 1),
        ("llm_router_cache_hits_total".to_owned(), 3),
        ("llm_router_cache_misses_total".to_owned(), 3),
        ("llm_router_calls_total{llm_classifier=\"task\",outcome=\"answered\"}".to_owned(), 2),
        ("llm_router_calls_total{llm_classifier=\"task\",outcome=\"failed\"}".to_owned(), 1),
    ];
    counted(&gateway, expected).await;
}

#[apply(for_each_host!)]
async fn a_candidate_is_counted_beside_its_policy_and_changes_nothing(host: Host) {
    let gateway = start(host, |it| {
        it["cache"] = json!({ "entries": 100 });
        it["models"]["vendor.model-3.1"] =
            json!({ "cluster": "llama-70b", "model": "m", "cost": { "input": 0, "output": 2000 } });
        it["models"]["nemotron"]["cost"] = json!({ "input": 0, "output": 1000 });
        it["policies"]["task_router"]["candidate"] = json!("by.score");
        it["policies"]["by.score"] = json!({
            "classifier": "complexity", "bands": [{ "up_to": 0.5, "model": "vendor.model-3.1" }, { "model": "nemotron" }],
        });
    })
    .await;
    let code = |score: Option<f32>| {
        let mut heads = json!({ "task": { "label": "Code Generation", "confidence": 0.875 } });
        if let Some(score) = score {
            heads["complexity"] = json!({ "score": score });
        }
        by_classifier(heads)
    };
    let (agrees, differs, unknown) = (code(Some(0.9)), code(Some(0.1)), code(None));
    for prompt in [&agrees, &differs, &differs, &unknown] {
        let response = gateway.send(Request::chat(chat("auto", prompt))).await;
        assert_eq!(response.status, 200, "{prompt}");
        assert_eq!(response.header("x-llm-router-model"), "nemotron", "{prompt}");
    }
    for prompt in [&agrees, &differs, &unknown] {
        assert_eq!(gateway.sidecar.times_classified(prompt), 1, "{prompt}");
    }
    let compared = |candidate: &str| {
        format!(
            "llm_router_comparisons_total{{llm_policy=\"task_router\",llm_model=\"nemotron\",llm_candidate=\"{candidate}\"}}"
        )
    };
    // Each response has four tokens.
    let cost = |whose: &str, model: &str| {
        format!(
            "llm_router_{whose}_cost_microdollars_total{{llm_policy=\"task_router\",llm_model=\"{model}\"}}"
        )
    };
    let expected = [
        (compared("nemotron"), 1),
        (compared("vendor.model-3.1"), 2),
        (compared("none"), 1),
        (cost("compared", "nemotron"), 3 * 4000),
        (cost("candidate", "nemotron"), 4000),
        (cost("candidate", "vendor.model-3.1"), 2 * 8000),
    ];
    counted(&gateway, expected).await;
}

#[apply(for_each_host!)]
async fn rejections_are_counted_by_code(host: Host) {
    let gateway = start(host, |_| {}).await;
    let body = chat("auto", "Hi");
    for request in [
        Request::chat("not JSON"),
        Request::chat("{}"),
        Request::chat(&body).header("x-llm-policy", "nope"),
        Request::chat(&body).header("content-encoding", "gzip"),
    ] {
        assert!(gateway.send(request).await.status.is_client_error());
    }
    let expected = [("invalid_request", 2), ("policy_not_found", 1), ("unsupported_encoding", 1)];
    let expected =
        expected.map(|(code, count)| (format!("llm_router_rejected_total{{code=\"{code}\"}}"), count));
    counted(&gateway, expected).await;
}

#[apply(for_each_host!)]
async fn a_cache_that_is_off_misses_nothing(host: Host) {
    let gateway = start(host, |it| it["cache"] = json!({ "entries": 0 })).await;
    let request = Request::chat(chat("auto", &labelled("Code Generation")));
    assert_routed(&gateway.send(request).await, "nemotron", "classified");
    let stats = counted(&gateway, [(requests("nemotron", "task_router", "classified"), 1)]).await;
    let cache = stats.iter().filter(|(name, _)| name.contains("llm_router_cache"));
    assert_eq!(cache.map(|(_, value)| value).sum::<f64>(), 0.0, "{:#?}", ours(&stats));
}

#[apply(for_each_host!)]
async fn tokens_and_cost_are_counted_from_responses_in_json_and_in_events(host: Host) {
    let gateway = start(host, |it| {
        // The mock LLM counts words as tokens.
        for model in ["llama-8b", "llama-70b", "nemotron"] {
            it["models"][model]["cost"] = json!({ "input": 1000, "output": 10000 });
        }
        it["models"]["claude"] = json!({
            "cluster": "llama-8b", "model": "claude", "api": "anthropic",
            "cost": { "input": 1000, "output": 10000 },
        });
        it["models"]["free"] = json!({ "cluster": "llama-8b", "model": "free" });
        it["models"]["expensive"] =
            json!({ "cluster": "llama-8b", "model": "d", "cost": { "input": 2000, "output": 20000 } });
    })
    .await;
    let turns = json!([{ "role": "user", "content": "One two three" }]);
    let streamed = json!({ "stream": true, "stream_options": { "include_usage": true } });
    for (path, model, field, prompt) in [
        ("/v1/chat/completions", "llama-8b", "messages", turns.clone()),
        ("/v1/responses", "llama-70b", "input", json!("One two three")),
        ("/v1/completions", "nemotron", "prompt", json!("One two three")),
        ("/v1/messages", "claude", "messages", turns.clone()),
        ("/v1/chat/completions", "free", "messages", turns),
    ] {
        let whole = json!({ "model": model, field: prompt });
        let mut events = streamed.clone();
        events["model"] = json!(model);
        events[field] = prompt;
        for body in [whole, events] {
            let request = Request::post(path, body);
            request.hold().open();
            assert_eq!(gateway.send(request).await.status, 200);
        }
    }
    for model in ["llama-8b", "llama-70b", "nemotron", "claude", "free"] {
        let sample = |name: &str| format!("llm_router_{name}_total{{llm_model=\"{model}\"}}");
        let stats = counted(&gateway, [(sample("output_tokens"), 8), (sample("input_tokens"), 6)]).await;
        let cost = (model != "free").then_some(6.0 * 1000.0 + 8.0 * 10_000.0);
        assert_eq!(stats.get(&sample("cost_microdollars")).copied(), cost, "{model} in {:#?}", ours(&stats));
        let max_cost = stats.get(&sample("max_cost_microdollars")).copied();
        assert_eq!(max_cost, cost.map(|cost| 2.0 * cost), "{model} in {:#?}", ours(&stats));
    }
}

#[apply(for_each_host!)]
async fn times_are_in_histograms_after_a_flush(host: Host) {
    let gateway = start(host, |_| {}).await;
    let mut body = chat("auto", &labelled("Code Generation"));
    body["stream"] = json!(true);
    let request = Request::chat(body);
    request.hold().open();
    assert_routed(&gateway.send(Request::chat(chat("llama-70b", "Hi"))).await, "llama-70b", "manual");
    assert_routed(&gateway.send(request).await, "nemotron", "classified");
    for name in [
        "llm_router_time_to_first_token_milliseconds_count{llm_model=\"nemotron\"}",
        "llm_router_call_duration_microseconds_count{llm_classifier=\"task\"}",
    ] {
        until(&gateway, |stats| stats.get(name) == Some(&1.0)).await;
    }
    let whole = "llm_router_time_to_first_token_milliseconds_count{llm_model=\"llama-70b\"}";
    assert_eq!(gateway.stats().await.get(whole), None, "a response in one piece has no first token");
}

#[apply(for_each_host!)]
async fn in_shadow_mode_the_stats_count_what_would_be(host: Host) {
    let gateway = ScriptedGateway::start(observed(host.shadow_bootstrap().with_long_timeouts()), 2).await;
    let prompt = labelled("Code Generation");
    let mut body = chat("gpt-4.1", &prompt);
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    for request in [Request::chat(chat("gpt-4.1", &prompt)), Request::chat(body), Request::chat("not JSON")] {
        request.hold().open();
        gateway.send(request).await;
    }
    let expected = [
        ("llm_router_output_tokens_total{llm_model=\"large\"}".to_owned(), 8),
        (requests("large", "task_router", "shadow"), 2),
        ("llm_router_rejected_total{code=\"invalid_request\"}".to_owned(), 1),
    ];
    let stats = counted(&gateway, expected).await;
    assert!(!stats.keys().any(|name| name.contains("time_to_first_token")), "the speed is another model's");
}

#[apply(for_each_host!)]
async fn the_access_log_is_json_with_the_decision_and_without_the_prompt(host: Host) {
    const SECRET: &str = "xyzzy-plugh";
    let gateway = start(host, |_| {}).await;
    let prompt = labelled("Code Generation") + SECRET;
    let routed = Request::chat(chat("auto", &prompt)).header("authorization", &format!("Bearer {SECRET}"));
    assert_routed(&gateway.send(routed).await, "nemotron", "classified");
    let rejected =
        Request::post(&format!("/\"a\"/v1/completions?key={SECRET}"), format!("{{\"prompt\": {SECRET}"));
    assert_eq!(gateway.send(rejected).await.status, 400);

    let lines = poll(async || {
        let lines = access_log(&gateway.envoy);
        if lines.len() == 2 { Ok(lines) } else { Err(lines) }
    })
    .await;
    let expected = json!({
        "method": "POST", "path": "/v1/chat/completions", "code": 200, "upstream_cluster": "nemotron",
        "llm_model": "nemotron", "llm_policy": "task_router", "llm_reason": "classified",
        "llm_label": "Code Generation", "llm_confidence": "0.875",
    });
    assert_has(&lines[0], &expected);
    assert!(lines[0]["duration_ms"].is_u64() && lines[0]["first_byte_ms"].is_u64(), "{}", lines[0]);
    assert_eq!(lines[0].get("llm_rejected"), None);
    // As Envoy normalizes it.
    let path = "/%22a%22/v1/completions";
    let expected = json!({ "path": path, "code": 400, "llm_rejected": "invalid_request" });
    assert_has(&lines[1], &expected);
    assert_eq!(lines[1].get("llm_model"), None);
    let output = gateway.envoy.output();
    assert!(!output.contains(SECRET), "{output}");
}

/// A gateway whose stats no other test changes, with one worker, which has the whole cache.
async fn start(host: Host, change: impl FnOnce(&mut Value)) -> ScriptedGateway {
    ScriptedGateway::start(observed(without_sidecar(host).policy(change)), 1).await
}

/// Enables all counters, and removes the delays of reporting.
fn observed(bootstrap: Bootstrap) -> Bootstrap {
    bootstrap.reading_responses().stats_flush_interval("0.1s")
}

/// The stats as soon as they have these values. A worker of Envoy reports its counts once a second.
async fn counted(
    gateway: &ScriptedGateway,
    expected: impl IntoIterator<Item = (String, u32)>,
) -> HashMap<String, f64> {
    let expected: Vec<_> = expected.into_iter().map(|(name, value)| (name, f64::from(value))).collect();
    until(gateway, |stats| expected.iter().all(|(name, value)| stats.get(name) == Some(value))).await
}

/// The stats as soon as they have settled.
async fn until(
    gateway: &ScriptedGateway,
    settled: impl Fn(&HashMap<String, f64>) -> bool,
) -> HashMap<String, f64> {
    poll(async || {
        let stats = gateway.stats().await;
        if settled(&stats) { Ok(stats) } else { Err(format!("{:#?}", ours(&stats))) }
    })
    .await
}

fn ours(stats: &HashMap<String, f64>) -> Vec<(&String, &f64)> {
    stats.iter().filter(|(name, _)| name.contains("llm_router") && !name.contains("_bucket")).collect()
}

fn requests(model: &str, policy: &str, reason: &str) -> String {
    format!(
        "llm_router_requests_total{{llm_policy=\"{policy}\",llm_model=\"{model}\",llm_reason=\"{reason}\"}}"
    )
}

fn labels(policy: &str, label: &str) -> String {
    format!("llm_router_labels_total{{llm_policy=\"{policy}\",llm_label=\"{label}\"}}")
}

/// The entries of the access log among Envoy's output.
fn access_log(gateway: &Envoy) -> Vec<Value> {
    let output = gateway.output();
    let lines = output.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[track_caller]
fn assert_has(line: &Value, expected: &Value) {
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(&line[field], value, "{field} in {line}");
    }
}

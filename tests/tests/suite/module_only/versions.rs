//! The same module file on every Envoy that can run it, and its error on those that cannot.

use std::collections::HashMap;

use llm_router_test_support::mock_llm::FAILS;
use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::fakes::scripted_sidecar::{ScriptedSidecar, labelled};
use llm_router_tests::host::Host;
use llm_router_tests::versions::Version;
use llm_router_tests::{for_each_envoy, for_each_envoy_with_failover, poll, refusing_address};
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::shared::envoy_context;
use crate::support::{assert_rejected, assert_routed, code_of, upstream_model, without_sidecar};

const NEMOTRON: &str = "nvidia/llama-3.3-nemotron-super-49b-v1";

#[apply(for_each_envoy!)]
async fn requests_are_routed_by_name_and_by_prompt(version: Version) {
    let gateway = start(version, without_sidecar(Host::Module)).await;
    let prompt = labelled("Code Generation");
    for request in [Request::chat(chat("auto", &prompt)), Request::chat(chat("auto", &prompt)).http2()] {
        let response = gateway.send(request).await;
        assert_routed(&response, "nemotron", "classified");
        assert_eq!(response.header("x-llm-router-label"), "Code Generation");
        assert_eq!(upstream_model(&response), NEMOTRON);
    }
    let response = gateway.send(Request::chat(chat("llama-70b", &prompt))).await;
    assert_routed(&response, "llama-70b", "manual");
    assert_eq!(gateway.sidecar.times_classified(&prompt), 2);
    let logged = gateway.envoy.access_log(|it| it["llm_reason"] == "classified").await;
    assert_eq!((&logged["llm_model"], &logged["llm_label"]), (&json!("nemotron"), &json!("Code Generation")));
    // Envoy's warning of another version than its own.
    let output = gateway.envoy.output();
    assert!(!output.contains("ABI version"), "{output}");
}

#[apply(for_each_envoy!)]
async fn rules_match_what_envoy_knows_of_a_request(version: Version) {
    let gateway = start(version, envoy_context::bootstrap(Host::Module)).await;
    let claims =
        json!({ "tenant": "acme", "level": 3, "admin": true, "https://corp.example/groups": ["dev"] });
    for condition in ["claims", "group", "route", "local"] {
        let request = envoy_context::with_token(condition, claims.clone());
        assert_routed(&gateway.send(request).await, "nemotron", "rule");
    }
    for condition in ["claims", "group", "decided", "elsewhere"] {
        assert_routed(&gateway.send(envoy_context::request(condition)).await, "llama-8b", "classified");
    }
    let output = gateway.envoy.output();
    assert!(!output.contains("Unsupported attribute"), "{output}");
}

/// Envoy's own limit is 1 MiB, and the module raises it to the policy's 8 MiB.
#[apply(for_each_envoy!)]
async fn large_bodies_are_routed_up_to_the_policys_limit(version: Version) {
    let gateway = start(version, without_sidecar(Host::Module).policy(name_code)).await;
    let body = code_of(4 << 20).replacen("auto", "code", 1);
    for request in [Request::chat(&body), Request::chat(&body).in_pieces(64 << 10)] {
        let response = gateway.send(request).await;
        assert_routed(&response, "nemotron", "alias");
        let expected = body.replacen("\"code\"", &format!("\"{NEMOTRON}\""), 1);
        assert!(response.received().body == expected.as_bytes(), "the body arrived changed");
    }
    let response = gateway.send(Request::chat(code_of((8 << 20) + 1))).await;
    assert_rejected(&response, 413, Value::Null, "8388608");
}

#[apply(for_each_envoy!)]
async fn without_a_sidecar_requests_go_to_the_default_model(version: Version) {
    let bootstrap = without_sidecar(Host::Module).sidecar(refusing_address());
    let gateway = Envoy::start_version(version, &bootstrap, 2).await;
    let response = gateway.send(Request::chat(chat("auto", &labelled("Code Generation")))).await;
    assert_routed(&response, "llama-8b", "classifier_unavailable");
}

#[apply(for_each_envoy!)]
async fn in_shadow_mode_decisions_are_only_reported(version: Version) {
    let gateway = start(version, Host::Module.shadow_bootstrap().with_long_timeouts()).await;
    let body = chat("gpt-4.1", &labelled("Code Generation")).to_string();
    let response = gateway.send(Request::chat(&body)).await;
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("x-served-by"), "llama-8b");
    assert!(response.received().body == body.as_bytes(), "the body arrived changed");
    assert_eq!(response.header("x-llm-router-model"), "large");
    assert_eq!(response.header("x-llm-router-reason"), "shadow");
}

#[apply(for_each_envoy!)]
async fn requests_tokens_and_times_are_counted(version: Version) {
    let bootstrap = without_sidecar(Host::Module).stats_flush_interval("0.1s");
    let gateway = start(version, bootstrap).await;
    let mut body = chat("auto", &labelled("Code Generation"));
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    let request = Request::chat(body);
    request.hold().open();
    assert_routed(&gateway.send(request).await, "nemotron", "classified");
    assert!(gateway.send(Request::chat("not JSON")).await.status.is_client_error());
    let expected = [
        "llm_router_requests_total{llm_policy=\"task_router\",llm_model=\"nemotron\",llm_reason=\"classified\"}",
        "llm_router_calls_total{llm_classifier=\"task\",outcome=\"answered\"}",
        "llm_router_call_duration_microseconds_count{llm_classifier=\"task\"}",
        "llm_router_output_tokens_total{llm_model=\"nemotron\"}",
        "llm_router_time_to_first_token_milliseconds_count{llm_model=\"nemotron\"}",
        "llm_router_rejected_total{code=\"invalid_request\"}",
    ];
    poll(async || {
        let stats = gateway.stats().await;
        if expected.iter().all(|name| stats.get(*name).is_some_and(|it| *it > 0.0)) {
            return Ok(());
        }
        let is_ours = |name: &str| name.contains("llm_router") && !name.contains("_bucket");
        Err(stats.into_iter().filter(|(name, _)| is_ours(name)).collect::<HashMap<_, _>>())
    })
    .await;
}

#[apply(for_each_envoy!)]
async fn an_invalid_policy_is_rejected_with_what_to_change(version: Version) {
    let invalid = |policy: &mut Value| policy["aliases"]["gpt-4o"] = json!("lama-70b");
    let output = Envoy::rejecting(version, &without_sidecar(Host::Module).policy(invalid)).await;
    assert!(output.contains("aliases.gpt-4o: no model \"lama-70b\""), "{output}");
}

#[apply(for_each_envoy_with_failover!)]
async fn the_next_model_replaces_one_that_fails(version: Version) {
    let gateway = start(version, Host::Module.failover_bootstrap().with_long_timeouts()).await;
    let request = || Request::chat(chat("auto", &labelled("Code Generation")));
    let response = gateway.send(request().header(FAILS, "nemotron:500")).await;
    assert_routed(&response, "llama-70b", "failover");
    assert_eq!(response.attempts().len(), 2);
    assert_routed(&gateway.send(request()).await, "nemotron", "classified");
}

#[tokio::test]
async fn an_envoy_that_cannot_fail_over_rejects_the_failover_filter() {
    let bootstrap = without_sidecar(Host::Module).filter("llm_router", |filter| {
        filter["filter_name"] = json!("failover");
    });
    let output = Envoy::rejecting(Version::V1_38, &bootstrap).await;
    assert!(output.contains("Envoy 1.38 cannot choose another cluster for a retry"), "{output}");
}

#[tokio::test]
async fn an_envoy_that_is_too_old_ends_with_what_to_use_instead() {
    // It looks for modules by their names only.
    let bootstrap = without_sidecar(Host::Module).filter("llm_router", |filter| {
        filter["dynamic_module_config"] = json!({ "name": "llm_router" });
    });
    let output = Envoy::rejecting(Version::V1_37, &bootstrap).await;
    assert!(output.contains("too old") && output.contains("Use Envoy 1.38 or later"), "{output}");
}

fn name_code(policy: &mut Value) {
    policy["aliases"]["code"] = json!("nemotron");
}

/// A gateway with a scripted sidecar.
async fn start(version: Version, bootstrap: Bootstrap) -> ScriptedGateway {
    let sidecar = ScriptedSidecar::start(None);
    let envoy = Envoy::start_version(version, &bootstrap.sidecar(sidecar.address), 2).await;
    ScriptedGateway { envoy, sidecar }
}

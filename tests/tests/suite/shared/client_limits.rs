//! Clients with keys and limits: `envoy/limits.yaml` and `envoy/module-limits.yaml`.

use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::fakes::rate_limit_service;
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::fakes::scripted_sidecar::labelled;
use llm_router_tests::host::Host;
use llm_router_tests::mock_llms::MOCK_LLMS;
use llm_router_tests::{TIMEOUT, for_each_host_inside_envoy, refusing_address, repository, within};
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{GREETING, SPELLINGS, assert_routed, policy_of};

#[apply(for_each_host_inside_envoy!)]
async fn only_clients_with_a_key_are_served_and_their_keys_go_no_further(host: Host) {
    let gateway = start(host, |it| it).await;
    for key in [None, Some("Bearer wrong"), Some("replace-me")] {
        let request = Request::chat(chat("llama-70b", GREETING));
        let response =
            gateway.send(key.into_iter().fold(request, |it, key| it.header("authorization", key))).await;
        assert_eq!(response.status, 401, "{response:?}");
        assert_eq!(response.json()["error"]["code"], "invalid_api_key");
        response.assert_not_forwarded();
    }
    let response =
        gateway.send(of_team("a", chat("llama-70b", GREETING)).header("x-client-id", "team-b")).await;
    assert_routed(&response, "llama-70b", "manual");
    let received = response.received();
    assert!(
        ["authorization", "x-client-id"].iter().all(|name| !received.headers.contains_key(*name)),
        "{received:?}"
    );
    let logged = gateway.envoy.access_log(|line| line["code"] == 200).await;
    assert_eq!(logged["client"], "team-a");
}

#[apply(for_each_host_inside_envoy!)]
async fn rejections_by_the_filter_keep_their_shape(host: Host) {
    let gateway = start(host, |it| it).await;
    let response = gateway.send(of_team("a", "{}")).await;
    assert_eq!(
        (response.status.as_u16(), &response.json()["error"]["code"]),
        (400, &json!("invalid_request"))
    );
}

#[apply(for_each_host_inside_envoy!)]
async fn rules_can_match_clients(host: Host) {
    let rule = json!([{ "when": { "header": { "x-client-id": "team-b" } }, "model": "nemotron" }]);
    let gateway = start(host, |it| it.policy(|policy| policy["rules"] = rule)).await;
    let prompt = labelled("Chatbot");
    assert_routed(&gateway.send(of_team("a", chat("auto", &prompt))).await, "llama-8b", "classified");
    assert_routed(&gateway.send(of_team("b", chat("auto", &prompt))).await, "nemotron", "rule");
}

#[apply(for_each_host_inside_envoy!)]
async fn each_client_has_its_own_tokens_a_minute(host: Host) {
    let few = |filter: &mut Value| {
        filter["descriptors"][0]["token_bucket"]["max_tokens"] = json!(1000);
        filter["descriptors"][0]["token_bucket"]["tokens_per_fill"] = json!(1000);
    };
    let gateway = start(host, |it| it.filter("envoy.filters.http.local_ratelimit", few)).await;
    let mut body = chat("llama-70b", GREETING);
    // With the prompt, a bit over 300.
    body["max_tokens"] = json!(300);
    for _ in 0..3 {
        assert_routed(&gateway.send(of_team("a", &body)).await, "llama-70b", "manual");
    }
    let rejected = gateway.send(of_team("a", &body)).await;
    assert_eq!(rejected.status, 429, "{rejected:?}");
    assert_eq!(rejected.json()["error"]["code"], "rate_limit_exceeded");
    assert_eq!(rejected.header("retry-after"), "60");
    rejected.assert_not_forwarded();
    assert_routed(&gateway.send(of_team("b", &body)).await, "llama-70b", "manual");
    // What is left is enough for a small request.
    body["max_tokens"] = json!(10);
    assert_routed(&gateway.send(of_team("a", &body)).await, "llama-70b", "manual");
}

/// Envoy does not count a number of tokens over a billion.
#[apply(for_each_host_inside_envoy!)]
async fn no_number_of_tokens_is_too_large_to_be_counted(host: Host) {
    let gateway = start(host, |it| it).await;
    let mut body = chat("llama-70b", GREETING);
    for tokens in [json!(2_000_000_000_u64), json!(2e9), json!(u64::MAX), json!(1e300)] {
        body["max_tokens"] = tokens;
        let response = gateway.send(of_team("a", &body)).await;
        assert_eq!(response.status, 429, "{}: {response:?}", body["max_tokens"]);
        response.assert_not_forwarded();
    }
}

/// Envoy's limit rejects a request that takes no tokens.
#[apply(for_each_host_inside_envoy!)]
async fn a_request_without_a_prompt_is_within_the_limit(host: Host) {
    let gateway = start(host, |it| it).await;
    let body = json!({"model": "llama-70b", "input": []});
    let request = Request::post("/v1/responses", body).header("authorization", "Bearer replace-me-a");
    assert_routed(&gateway.send(request).await, "llama-70b", "manual");
}

#[apply(for_each_host_inside_envoy!)]
async fn after_the_limit_no_spelling_of_the_path_leads_past_it(host: Host) {
    let few = |filter: &mut Value| {
        filter["descriptors"][0]["token_bucket"]["max_tokens"] = json!(100);
        filter["descriptors"][0]["token_bucket"]["tokens_per_fill"] = json!(100);
    };
    for keep in [false, true] {
        let change = |it: Bootstrap| it.filter("envoy.filters.http.local_ratelimit", few);
        let gateway = start(host, |it| if keep { change(it).keeping_paths() } else { change(it) }).await;
        let mut body = chat("llama-70b", GREETING);
        body["max_tokens"] = json!(101);
        for path in SPELLINGS {
            let request = Request::post(path, &body).header("authorization", "Bearer replace-me-a");
            let response = gateway.send(request).await;
            assert_eq!(response.status, 429, "{path}: {response:?}");
            response.assert_not_forwarded();
        }
    }
}

#[apply(for_each_host_inside_envoy!)]
async fn an_endpoint_that_fails_is_retried_elsewhere_and_then_ejected(host: Host) {
    let bad = |it: Bootstrap| it.endpoint("llama-8b", 1, refusing_address());
    let gateway = start(host, bad).await;
    for _ in 0..20 {
        assert_routed(&gateway.send(of_team("a", chat("llama-8b", GREETING))).await, "llama-8b", "manual");
    }
    let stats = gateway.envoy.stats().await;
    let of = |name: &str| stats[&format!("envoy_cluster_{name}{{envoy_cluster_name=\"llama-8b\"}}")];
    assert_eq!(of("outlier_detection_ejections_enforced_total"), 1.0);
    // No connection was tried there after the third failure.
    assert_eq!(of("upstream_cx_connect_fail"), 3.0);
}

/// As `docs/limits.md` says.
#[apply(for_each_host_inside_envoy!)]
async fn a_rate_limit_service_gets_the_tokens_of_the_responses(host: Host) {
    let (service, mut calls) = rate_limit_service::start();
    let page = std::fs::read_to_string(repository().join("docs/limits.md")).expect("the page");
    let (_, yaml) = page.split_once("```yaml\n").expect("the filter");
    let (yaml, _) = yaml.split_once("```").expect("its end");
    // Only the Wasm runtime puts this before the names of filter state.
    let yaml = if host == Host::Module { yaml.replace("(wasm.", "(") } else { yaml.to_owned() };
    let filter: Vec<Value> = serde_saphyr::from_str(&yaml).expect("YAML");
    let with_service =
        |it: Bootstrap| it.add_filter(filter[0].clone()).add_grpc_cluster("ratelimit", service);
    let gateway = start(host, with_service).await;
    let mut body = chat("llama-70b", "one two three");
    for stream in [false, true] {
        body["stream"] = json!(stream);
        body["stream_options"] = json!({ "include_usage": stream });
        let response = gateway.send(of_team("b", &body)).await;
        assert_eq!(response.status, 200, "{response:?}");
        let client = vec![("client".to_owned(), "team-b".to_owned())];
        // Before the request goes on, nothing is counted; then the mock LLM's usage: 3 words in, 4 out.
        for hits in [0, 7] {
            let call = within(TIMEOUT, calls.recv()).await.expect("a call");
            assert_eq!(call, (client.clone(), hits));
        }
    }
}

#[test]
fn its_bootstrap_has_the_policy_of_the_others() {
    assert_eq!(policy_of(Host::Wasm.limits_bootstrap()), policy_of(Bootstrap::wasm()));
}

async fn start(host: Host, change: impl FnOnce(Bootstrap) -> Bootstrap) -> ScriptedGateway {
    let bootstrap =
        MOCK_LLMS.behind(host.limits_bootstrap()).endpoint("llama-8b", 1, MOCK_LLMS.address("llama-8b"));
    ScriptedGateway::start(change(bootstrap.with_long_timeouts()), 1).await
}

fn of_team(team: &str, body: impl ToString) -> Request {
    Request::chat(body).header("authorization", &format!("Bearer replace-me-{team}"))
}

//! A model fails, and the policy's next one responds: `envoy/failover.yaml`.

use hyper::StatusCode;
use llm_router_test_support::mock_llm::{FAILS, Received};
use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, Response, chat};
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::fakes::scripted_sidecar::labelled;
use llm_router_tests::host::Host;
use llm_router_tests::{for_each_host_with_failover, poll, refusing_address};
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{CODE, assert_routed, policy_of};

const NEMOTRON: &str = "nvidia/llama-3.3-nemotron-super-49b-v1";
const LLAMA_70B: &str = "meta/llama-3.1-70b-instruct";
const LLAMA_8B: &str = "meta/llama-3.1-8b-instruct";

#[apply(for_each_host_with_failover!)]
async fn the_policys_next_model_replaces_one_that_fails(host: Host) {
    let gateway = start(host, |it| it).await;
    for fails in ["nemotron:500", "nemotron:503", "nemotron:429"] {
        let response = gateway.send(code().header(FAILS, fails)).await;
        assert_routed(&response, "llama-70b", "failover");
        assert_eq!(response.header("x-llm-router-label"), "Code Generation");
        assert_eq!(response.header("x-llm-router-policy"), "task_router");
        assert_eq!(attempts(&response), [("nemotron", NEMOTRON), ("llama-70b", LLAMA_70B)].map(owned));
    }
    let response = gateway.send(code().header(FAILS, "nemotron:500,llama-70b:429")).await;
    assert_routed(&response, "llama-8b", "failover");
    let all = [("nemotron", NEMOTRON), ("llama-70b", LLAMA_70B), ("llama-8b", LLAMA_8B)].map(owned);
    assert_eq!(attempts(&response), all);
}

#[apply(for_each_host_with_failover!)]
async fn when_all_models_fail_the_last_ones_error_is_the_response(host: Host) {
    let gateway = start(host, |it| it).await;
    let fails = "nemotron:500,llama-70b:429,llama-8b:503";
    let response = gateway.send(code().header(FAILS, fails)).await;
    assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE, "{response:?}");
    assert_eq!(response.header("x-llm-router-model"), "llama-8b");
    assert_eq!(response.json()["error"]["type"], "mock_error");
    assert_eq!(attempts(&response).len(), 3);
}

#[apply(for_each_host_with_failover!)]
async fn a_clients_error_is_not_a_failure_of_the_model(host: Host) {
    let gateway = start(host, |it| it).await;
    let response = gateway.send(code().header(FAILS, "nemotron:400")).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
    assert_eq!(response.header("x-llm-router-model"), "nemotron");
    assert_eq!(attempts(&response), [("nemotron", NEMOTRON)].map(owned));
}

#[apply(for_each_host_with_failover!)]
async fn a_model_that_cannot_be_reached_has_failed(host: Host) {
    let gateway = start(host, |it| it.cluster("nemotron", refusing_address())).await;
    for request in [code(), code().http2()] {
        assert_routed(&gateway.send(request).await, "llama-70b", "failover");
    }
    assert_routed(&gateway.send(code().http2().header(FAILS, "llama-70b:500")).await, "llama-8b", "failover");
}

#[apply(for_each_host_with_failover!)]
async fn a_fallback_model_streams(host: Host) {
    let gateway = start(host, |it| it).await;
    let mut body = chat("auto", &labelled("Code Generation"));
    body["stream"] = json!(true);
    let request = Request::chat(body).header(FAILS, "nemotron:503");
    let gate = request.hold();
    let open = gateway.envoy.open(request);
    gate.release(1);
    let mut response = open.await;
    assert_eq!(response.headers["x-llm-router-model"], "llama-70b");
    assert_eq!(response.headers["x-llm-router-reason"], "failover");
    // The first event arrives while the mock LLM holds back the others.
    let mut events = vec![response.next_event().await.expect("an event")];
    gate.open();
    events.extend(response.events().await);
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{events:?}");
    let first: Value = serde_json::from_str(&events[0]).expect("JSON");
    assert_eq!(first["model"], LLAMA_70B);
}

/// Beyond Envoy's default buffers of 1 MiB, with a length that is announced or not.
#[apply(for_each_host_with_failover!)]
async fn large_bodies_are_sent_again(host: Host) {
    let gateway = start(host, |it| it).await;
    let mut body = chat("auto", "x");
    body["messages"] = json!([
        { "role": "assistant", "content": "x".repeat(3 << 20) },
        { "role": "user", "content": labelled("Code Generation") },
    ]);
    let requests =
        [Request::chat(&body), Request::chat(&body).in_pieces(100_000), Request::chat(&body).http2()];
    for request in requests {
        let response = gateway.send(request.header(FAILS, "nemotron:500")).await;
        assert_routed(&response, "llama-70b", "failover");
        let received: Value = serde_json::from_slice(&response.received().body).expect("JSON");
        assert_eq!((&received["model"], &received["messages"]), (&json!(LLAMA_70B), &body["messages"]));
    }
}

#[apply(for_each_host_with_failover!)]
async fn path_and_host_are_those_of_the_model_that_responds(host: Host) {
    let elsewhere = |it: &mut Value| {
        it["models"]["nemotron"]["base_path"] = json!("/nvidia/v1");
        it["models"]["nemotron"]["host"] = json!("nvidia.example");
        it["models"]["llama-8b"]["base_path"] = json!("/compatible");
    };
    let gateway = start(host, |it| it.policy(elsewhere)).await;
    let fails = "nemotron:500,llama-70b:500";
    let response = gateway.send(code().header(FAILS, fails)).await;
    assert_routed(&response, "llama-8b", "failover");
    let all = response.attempts();
    let seen: Vec<_> =
        all.iter().map(|it| (it.path.as_str(), it.headers["host"].to_str().expect("text"))).collect();
    let expected = [
        ("/nvidia/v1/chat/completions", "nvidia.example"),
        ("/v1/chat/completions", "gateway"),
        ("/compatible/chat/completions", "gateway"),
    ];
    assert_eq!(seen, expected);
}

#[apply(for_each_host_with_failover!)]
async fn the_model_header_names_the_model_of_each_attempt(host: Host) {
    let gateway = start(host, |it| it.policy(|it| it["model_header"] = json!("x-gateway-model-name"))).await;
    let response = gateway.send(code().header(FAILS, "nemotron:500,llama-70b:500")).await;
    assert_routed(&response, "llama-8b", "failover");
    let all = response.attempts();
    let named: Vec<_> =
        all.iter().map(|it| it.headers["x-gateway-model-name"].to_str().expect("text")).collect();
    assert_eq!(named, [NEMOTRON, LLAMA_70B, LLAMA_8B]);
}

#[apply(for_each_host_with_failover!)]
async fn a_fallback_model_gets_its_own_body_edits(host: Host) {
    let edits = |it: &mut Value| {
        it["models"]["nemotron"]["body"] = json!({
            "set": {"chat_template_kwargs.enable_thinking": true, "temperature": 0.3}, "remove": ["seed"],
        });
        it["models"]["llama-70b"]["body"] = json!({"default": {"temperature": 0.5, "max_tokens": 99}});
    };
    let gateway = start(host, |it| it.policy(edits)).await;
    let mut body = chat("auto", &labelled("Code Generation"));
    body["seed"] = json!(7);
    body["temperature"] = json!(1.5);
    for request in [Request::chat(&body), Request::chat(&body).http2(), Request::chat(&body).in_pieces(20)] {
        let response = gateway.send(request.header(FAILS, "nemotron:500,llama-70b:500")).await;
        assert_routed(&response, "llama-8b", "failover");
        let received: Vec<Value> =
            response.attempts().iter().map(|it| serde_json::from_slice(&it.body).expect("JSON")).collect();
        let sent = |model: &str| {
            let mut sent = body.clone();
            sent["model"] = json!(model);
            sent
        };
        let mut first = sent(NEMOTRON);
        first.as_object_mut().expect("an object").remove("seed");
        first["temperature"] = json!(0.3);
        first["chat_template_kwargs"] = json!({"enable_thinking": true});
        let mut second = sent(LLAMA_70B);
        second["max_tokens"] = json!(99);
        assert_eq!(received, [first, second, sent(LLAMA_8B)]);
    }
}

#[apply(for_each_host_with_failover!)]
async fn a_model_that_the_client_names_is_not_replaced(host: Host) {
    let gateway = start(host, |it| it).await;
    let response = gateway.send(Request::chat(chat("nemotron", CODE)).header(FAILS, "nemotron:500")).await;
    assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        (response.header("x-llm-router-model"), response.header("x-llm-router-reason")),
        ("nemotron", "manual")
    );
    let attempts = attempts(&response);
    assert!(!attempts.is_empty(), "nemotron was not asked");
    assert!(attempts.iter().all(|attempt| *attempt == owned(("nemotron", NEMOTRON))), "{attempts:?}");
}

#[apply(for_each_host_with_failover!)]
async fn a_model_that_cannot_take_the_request_is_no_fallback(host: Host) {
    let weak = |it: &mut Value| it["models"]["llama-70b"]["capabilities"] = json!(["json"]);
    let gateway = start(host, |it| it.policy(weak)).await;
    let mut body = chat("auto", &labelled("Code Generation"));
    body["tools"] = json!([{ "type": "function", "function": { "name": "f" } }]);
    let response = gateway.send(Request::chat(body).header(FAILS, "nemotron:500")).await;
    assert_routed(&response, "llama-8b", "failover");
    assert_eq!(attempts(&response), [("nemotron", NEMOTRON), ("llama-8b", LLAMA_8B)].map(owned));
}

/// Envoy keeps what an upstream filter adds to a request for its later attempts.
#[apply(for_each_host_with_failover!)]
async fn a_providers_key_does_not_reach_another(host: Host) {
    let key = |value: &str| {
        let mutation = json!({ "append": {
            "header": { "key": "authorization", "value": value }, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        } });
        json!({ "name": "key", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
            "mutations": { "request_mutations": [mutation] },
        } })
    };
    let keys = |it: Bootstrap| {
        it.upstream_filter("nemotron", key("Bearer nvidia")).upstream_filter("llama-8b", key("Bearer meta"))
    };
    let gateway = start(host, keys).await;
    let fails = "nemotron:500,llama-70b:500";
    for client in [None, Some("Bearer client")] {
        let request = code().header(FAILS, fails);
        let request = client.into_iter().fold(request, |it, key| it.header("authorization", key));
        let response = gateway.send(request).await;
        assert_routed(&response, "llama-8b", "failover");
        let all = response.attempts();
        let keys: Vec<_> = all
            .iter()
            .map(|it| it.headers.get("authorization").map(|it| it.to_str().expect("text")))
            .collect();
        assert_eq!(keys, [Some("Bearer nvidia"), None, Some("Bearer meta")]);
    }
    // A key that the route lets pass and that nobody replaced is the client's, whichever model responds.
    let gateway = start(host, |it| it.pass_credentials(&["authorization"])).await;
    let request = code().header(FAILS, fails).header("authorization", "Bearer client");
    let response = gateway.send(request).await;
    assert_routed(&response, "llama-8b", "failover");
    let all = response.attempts();
    assert!(all.iter().all(|it| it.headers["authorization"] == "Bearer client"), "{all:?}");
}

#[apply(for_each_host_with_failover!)]
async fn logs_and_stats_name_the_model_that_responded(host: Host) {
    let gateway = start(host, |it| it).await;
    let response = gateway.send(code().header(FAILS, "nemotron:500")).await;
    assert_routed(&response, "llama-70b", "failover");
    let logged = gateway.envoy.access_log(|line| line["path"] == "/v1/chat/completions").await;
    assert_eq!((&logged["llm_model"], &logged["llm_reason"]), (&json!("llama-70b"), &json!("failover")));
    assert_eq!(logged["upstream_cluster"], "llama-70b");

    let tokens = |model: &str| format!("llm_router_output_tokens_total{{llm_model=\"{model}\"}}");
    let expected = [("llm_router_failovers_total{llm_model=\"nemotron\"}", 1.0), (&tokens("llama-70b"), 4.0)];
    let stats = poll(async || {
        let stats = gateway.stats().await;
        let settled = expected.iter().all(|(name, value)| stats.get(*name) == Some(value));
        if settled { Ok(stats) } else { Err(stats) }
    })
    .await;
    assert_eq!(stats.get(&tokens("nemotron")), None, "{stats:#?}");
}

#[test]
fn its_bootstrap_has_the_policy_of_the_others() {
    let mut policy = policy_of(Bootstrap::failover());
    assert_eq!(policy.as_object_mut().expect("a policy").remove("failover"), Some(json!(true)));
    let task_router = policy["policies"]["task_router"].as_object_mut().expect("a policy");
    task_router.remove("fallback").expect("fallback models");
    assert_eq!(policy, policy_of(Bootstrap::wasm()));
}

async fn start(host: Host, change: impl FnOnce(Bootstrap) -> Bootstrap) -> ScriptedGateway {
    ScriptedGateway::start(change(host.failover_bootstrap().with_long_timeouts()), 1).await
}

/// A request that nemotron is chosen for.
fn code() -> Request {
    Request::chat(chat("auto", &labelled("Code Generation")))
}

/// The clusters that received the request, and for which model.
fn attempts(response: &Response) -> Vec<(String, String)> {
    let model = |it: &Received| {
        let body: Value = serde_json::from_slice(&it.body).expect("JSON");
        body["model"].as_str().expect("a model").to_owned()
    };
    response.attempts().iter().map(|it| (it.cluster.clone(), model(it))).collect()
}

fn owned((cluster, model): (&str, &str)) -> (String, String) {
    (cluster.to_owned(), model.to_owned())
}

//! A model fails, and the policy's next one answers: `envoy/failover.yaml`.

use hyper::StatusCode;
use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Answer, Request, chat};
use llm_router_tests::fleet::FLEET;
use llm_router_tests::stand_in::{FAILS, Received};
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::obedient_sidecar::labelled;
use crate::{CODE, assert_routed, broken_sidecar};

const NEMOTRON: &str = "nvidia/llama-3.3-nemotron-super-49b-v1";
const LLAMA_70B: &str = "meta/llama-3.1-70b-instruct";
const LLAMA_8B: &str = "meta/llama-3.1-8b-instruct";

#[tokio::test]
async fn the_policys_next_model_answers_in_place_of_one_that_fails() {
    let gateway = start(|it| it).await;
    for fails in ["nemotron:500", "nemotron:503", "nemotron:429"] {
        let answer = gateway.send(code("whole").header(FAILS, fails)).await;
        assert_routed(&answer, "llama-70b", "failover");
        assert_eq!(answer.header("x-llm-router-label"), "Code Generation");
        assert_eq!(answer.header("x-llm-router-policy"), "task_router");
        assert_eq!(attempts(&answer), [("nemotron", NEMOTRON), ("llama-70b", LLAMA_70B)].map(owned));
    }
    let answer = gateway.send(code("twice").header(FAILS, "nemotron:500,llama-70b:429")).await;
    assert_routed(&answer, "llama-8b", "failover");
    let all = [("nemotron", NEMOTRON), ("llama-70b", LLAMA_70B), ("llama-8b", LLAMA_8B)].map(owned);
    assert_eq!(attempts(&answer), all);
}

#[tokio::test]
async fn when_all_fail_the_last_ones_error_is_the_answer() {
    let gateway = start(|it| it).await;
    let fails = "nemotron:500,llama-70b:429,llama-8b:503";
    let answer = gateway.send(code("all").header(FAILS, fails)).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    assert_eq!(answer.header("x-llm-router-model"), "llama-8b");
    assert_eq!(answer.json()["error"]["type"], "stand_in_error");
    assert_eq!(attempts(&answer).len(), 3);
}

#[tokio::test]
async fn errors_of_the_client_are_no_failures_of_the_model() {
    let gateway = start(|it| it).await;
    let answer = gateway.send(code("client").header(FAILS, "nemotron:400")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.header("x-llm-router-model"), "nemotron");
    assert_eq!(attempts(&answer), [("nemotron", NEMOTRON)].map(owned));
}

#[tokio::test]
async fn a_model_that_cannot_be_reached_is_one_that_fails() {
    let gateway = start(|it| it.cluster("nemotron", broken_sidecar::absent())).await;
    for request in [code("http1"), code("http2").http2()] {
        assert_routed(&gateway.send(request).await, "llama-70b", "failover");
    }
    assert_routed(
        &gateway.send(code("h2 twice").http2().header(FAILS, "llama-70b:500")).await,
        "llama-8b",
        "failover",
    );
}

#[tokio::test]
async fn what_stands_in_streams() {
    let gateway = start(|it| it).await;
    let mut body = chat("auto", &labelled("stream", "Code Generation"));
    body["stream"] = json!(true);
    let request = Request::chat(body).header(FAILS, "nemotron:503");
    let gate = FLEET.hold(request.id());
    let open = gateway.envoy.open(request);
    gate.release(1);
    let mut answer = open.await;
    assert_eq!(answer.headers["x-llm-router-model"], "llama-70b");
    assert_eq!(answer.headers["x-llm-router-reason"], "failover");
    // The first event is here while the stand-in holds the others back.
    let mut events = vec![answer.next_event().await.expect("an event")];
    gate.open();
    while let Some(event) = answer.next_event().await {
        events.push(event);
    }
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{events:?}");
    let first: Value = serde_json::from_str(&events[0]).expect("JSON");
    assert_eq!(first["model"], LLAMA_70B);
}

/// Beyond Envoy's default buffers of 1 MiB, with a length that is announced or not.
#[tokio::test]
async fn large_bodies_are_sent_again() {
    let gateway = start(|it| it).await;
    let mut body = chat("auto", "x");
    body["messages"] = json!([
        { "role": "assistant", "content": "x".repeat(3 << 20) },
        { "role": "user", "content": labelled("large", "Code Generation") },
    ]);
    let requests =
        [Request::chat(&body), Request::chat(&body).in_pieces(100_000), Request::chat(&body).http2()];
    for request in requests {
        let answer = gateway.send(request.header(FAILS, "nemotron:500")).await;
        assert_routed(&answer, "llama-70b", "failover");
        let received: Value = serde_json::from_slice(&last(&answer).body).expect("JSON");
        assert_eq!((&received["model"], &received["messages"]), (&json!(LLAMA_70B), &body["messages"]));
    }
}

#[tokio::test]
async fn path_and_host_are_those_of_the_model_that_answers() {
    let elsewhere = |it: &mut Value| {
        it["models"]["nemotron"]["base_path"] = json!("/nvidia/v1");
        it["models"]["nemotron"]["host"] = json!("nvidia.example");
        it["models"]["llama-8b"]["base_path"] = json!("/compatible");
    };
    let gateway = start(|it| it.policy(elsewhere)).await;
    let fails = "nemotron:500,llama-70b:500";
    let answer = gateway.send(code("path").header(FAILS, fails)).await;
    assert_routed(&answer, "llama-8b", "failover");
    let all = FLEET.attempts(&answer.id);
    let seen: Vec<_> =
        all.iter().map(|it| (it.path.as_str(), it.headers["host"].to_str().unwrap())).collect();
    let expected = [
        ("/nvidia/v1/chat/completions", "nvidia.example"),
        ("/v1/chat/completions", "gateway"),
        ("/compatible/chat/completions", "gateway"),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_model_that_the_client_names_has_nobody_to_stand_in() {
    let gateway = start(|it| it).await;
    let answer = gateway.send(Request::chat(chat("nemotron", CODE)).header(FAILS, "nemotron:500")).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        (answer.header("x-llm-router-model"), answer.header("x-llm-router-reason")),
        ("nemotron", "manual")
    );
    assert!(attempts(&answer).iter().all(|attempt| *attempt == owned(("nemotron", NEMOTRON))));
}

#[tokio::test]
async fn a_model_that_cannot_take_the_request_does_not_stand_in() {
    let weak = |it: &mut Value| it["models"]["llama-70b"]["capabilities"] = json!(["json"]);
    let gateway = start(|it| it.policy(weak)).await;
    let mut body = chat("auto", &labelled("tools", "Code Generation"));
    body["tools"] = json!([{ "type": "function", "function": { "name": "f" } }]);
    let answer = gateway.send(Request::chat(body).header(FAILS, "nemotron:500")).await;
    assert_routed(&answer, "llama-8b", "failover");
    assert_eq!(attempts(&answer), [("nemotron", NEMOTRON), ("llama-8b", LLAMA_8B)].map(owned));
}

/// Envoy keeps what an upstream filter adds to a request for its later attempts.
#[tokio::test]
async fn a_providers_key_does_not_reach_another() {
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
    let gateway = start(keys).await;
    let fails = "nemotron:500,llama-70b:500";
    for client in [None, Some("Bearer client")] {
        let request = code("keys").header(FAILS, fails);
        let request = client.into_iter().fold(request, |it, key| it.header("authorization", key));
        let answer = gateway.send(request).await;
        assert_routed(&answer, "llama-8b", "failover");
        let all = FLEET.attempts(&answer.id);
        let keys: Vec<_> =
            all.iter().map(|it| it.headers.get("authorization").map(|it| it.to_str().unwrap())).collect();
        assert_eq!(keys, [Some("Bearer nvidia"), None, Some("Bearer meta")]);
    }
    // A key that nobody replaced is the client's, for whoever answers.
    let gateway = start(|it| it).await;
    let request = code("own key").header(FAILS, fails).header("authorization", "Bearer client");
    let answer = gateway.send(request).await;
    assert_routed(&answer, "llama-8b", "failover");
    let all = FLEET.attempts(&answer.id);
    assert!(all.iter().all(|it| it.headers["authorization"] == "Bearer client"), "{all:?}");
}

#[tokio::test]
async fn logs_and_stats_tell_who_answered() {
    let gateway = start(|it| it).await;
    let answer = gateway.send(code("told").header(FAILS, "nemotron:500")).await;
    assert_routed(&answer, "llama-70b", "failover");
    let logged = gateway.envoy.access_log(|line| line["path"] == "/v1/chat/completions").await;
    assert_eq!((&logged["llm_model"], &logged["llm_reason"]), (&json!("llama-70b"), &json!("failover")));
    assert_eq!(logged["upstream_cluster"], "llama-70b");

    let stats = gateway.envoy.stats_with("llmrouter_failovers_total").await;
    let of = |name: &str| stats.get(name).copied();
    assert_eq!(of("llmrouter_failovers_total{llm_model=\"nemotron\"}"), Some(1.0), "{stats:#?}");
    assert_eq!(of("llmrouter_output_tokens_total{llm_model=\"llama-70b\"}"), Some(4.0), "{stats:#?}");
    assert_eq!(of("llmrouter_output_tokens_total{llm_model=\"nemotron\"}"), None, "{stats:#?}");
}

#[test]
fn it_has_the_policy_of_the_other_bootstraps() {
    let policy_of = |bootstrap: Bootstrap| {
        let mut policy = Value::Null;
        drop(bootstrap.policy(|it| policy = it.clone()));
        policy
    };
    let mut policy = policy_of(Bootstrap::failover());
    assert_eq!(policy.as_object_mut().expect("a policy").remove("failover"), Some(json!(true)));
    let task_router = policy["policies"]["task_router"].as_object_mut().expect("a policy");
    task_router.remove("fallback").expect("who stands in");
    assert_eq!(policy, policy_of(Bootstrap::wasm()));
}

async fn start(change: impl FnOnce(Bootstrap) -> Bootstrap) -> Gateway {
    Gateway::start(change(FLEET.behind(Bootstrap::failover()).patient()), 1).await
}

/// A request that nemotron is chosen for.
fn code(topic: &str) -> Request {
    Request::chat(chat("auto", &labelled(topic, "Code Generation")))
}

fn last(answer: &Answer) -> Received {
    FLEET.received(&answer.id).expect("an attempt")
}

/// Who got the request, and for which model.
fn attempts(answer: &Answer) -> Vec<(String, String)> {
    let model = |it: &Received| {
        let body: Value = serde_json::from_slice(&it.body).expect("JSON");
        body["model"].as_str().expect("a model").to_owned()
    };
    FLEET.attempts(&answer.id).iter().map(|it| (it.cluster.clone(), model(it))).collect()
}

fn owned((cluster, model): (&str, &str)) -> (String, String) {
    (cluster.to_owned(), model.to_owned())
}

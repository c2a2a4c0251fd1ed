//! Clients with keys and limits: `envoy/limits.yaml`.

use std::net::SocketAddr;

use axum::Router;
use bytes::Bytes;
use http_body_util::BodyExt;
use llm_router_tests::PATIENCE;
use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::fleet::FLEET;
use prost::Message;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use crate::gateway::Gateway;
use crate::obedient_sidecar::labelled;
use crate::{GREETING, assert_routed, broken_sidecar, received};

#[tokio::test]
async fn only_clients_with_a_key_are_served_and_their_keys_end_here() {
    let gateway = start(|it| it).await;
    for key in [None, Some("Bearer wrong"), Some("replace-me")] {
        let request = Request::chat(chat("llama-70b", GREETING));
        let answer =
            gateway.send(key.into_iter().fold(request, |it, key| it.header("authorization", key))).await;
        assert_eq!(answer.status, 401, "{answer:?}");
        assert_eq!(answer.json()["error"]["code"], "invalid_api_key");
        assert!(FLEET.received(&answer.id).is_none(), "the request went on to an LLM");
    }
    let answer =
        gateway.send(of_team("a", chat("llama-70b", GREETING)).header("x-client-id", "team-b")).await;
    assert_routed(&answer, "llama-70b", "manual");
    let received = received(&answer);
    assert!(
        ["authorization", "x-client-id"].iter().all(|name| !received.headers.contains_key(*name)),
        "{received:?}"
    );
    let logged = gateway.envoy.access_log(|line| line["code"] == 200).await;
    assert_eq!(logged["client"], "team-a");
}

#[tokio::test]
async fn refusals_of_the_filter_keep_their_shape() {
    let gateway = start(|it| it).await;
    let answer = gateway.send(of_team("a", "{}")).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["code"]), (400, &json!("invalid_request")));
}

#[tokio::test]
async fn rules_can_tell_clients() {
    let rule = json!([{ "when": { "header": { "x-client-id": "team-b" } }, "model": "nemotron" }]);
    let gateway = start(|it| it.policy(|policy| policy["rules"] = rule)).await;
    let prompt = labelled("rules", "Chatbot");
    assert_routed(&gateway.send(of_team("a", chat("auto", &prompt))).await, "llama-8b", "classified");
    assert_routed(&gateway.send(of_team("b", chat("auto", &prompt))).await, "nemotron", "rule");
}

#[tokio::test]
async fn each_client_has_its_own_tokens_a_minute() {
    let few = |filter: &mut Value| {
        filter["descriptors"][0]["token_bucket"]["max_tokens"] = json!(1000);
        filter["descriptors"][0]["token_bucket"]["tokens_per_fill"] = json!(1000);
    };
    let gateway = start(|it| it.filter("envoy.filters.http.local_ratelimit", few)).await;
    let mut body = chat("llama-70b", GREETING);
    // With the prompt, a bit over 300.
    body["max_tokens"] = json!(300);
    for _ in 0..3 {
        assert_routed(&gateway.send(of_team("a", &body)).await, "llama-70b", "manual");
    }
    let refused = gateway.send(of_team("a", &body)).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded");
    assert_eq!(refused.header("retry-after"), "60");
    assert!(FLEET.received(&refused.id).is_none(), "the request went on to an LLM");
    assert_routed(&gateway.send(of_team("b", &body)).await, "llama-70b", "manual");
    // What is left is enough for a small one.
    body["max_tokens"] = json!(10);
    assert_routed(&gateway.send(of_team("a", &body)).await, "llama-70b", "manual");
}

#[tokio::test]
async fn an_endpoint_that_fails_is_retried_elsewhere_and_then_left_out() {
    let bad = |it: Bootstrap| it.endpoint("llama-8b", 1, broken_sidecar::absent());
    let gateway = start(bad).await;
    for _ in 0..20 {
        assert_routed(&gateway.send(of_team("a", chat("llama-8b", GREETING))).await, "llama-8b", "manual");
    }
    let stats = gateway.envoy.stats().await;
    let of = |name: &str| stats[&format!("envoy_cluster_{name}{{envoy_cluster_name=\"llama-8b\"}}")];
    assert_eq!(of("outlier_detection_ejections_enforced_total"), 1.0);
    // None was tried there after the third failure.
    assert_eq!(of("upstream_cx_connect_fail"), 3.0);
}

/// As `docs/limits.md` says.
#[tokio::test]
async fn a_rate_limit_service_is_told_the_tokens_that_answers_took() {
    let (service, mut calls) = rate_limit_service();
    let page =
        std::fs::read_to_string(llm_router_tests::repository().join("docs/limits.md")).expect("the page");
    let (_, yaml) = page.split_once("```yaml\n").expect("the filter");
    let (yaml, _) = yaml.split_once("```").expect("its end");
    let filter: Vec<Value> = serde_saphyr::from_str(yaml).expect("YAML");
    let with_service =
        |it: Bootstrap| it.add_filter(filter[0].clone()).add_grpc_cluster("ratelimit", service);
    let gateway = start(with_service).await;
    let mut body = chat("llama-70b", "one two three");
    for stream in [false, true] {
        body["stream"] = json!(stream);
        body["stream_options"] = json!({ "include_usage": stream });
        let answer = gateway.send(of_team("b", &body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let client = vec![("client".to_owned(), "team-b".to_owned())];
        // Before the request goes on, nothing is counted; then what the stand-in says: 3 words in, 4 out.
        for hits in [0, 7] {
            let call =
                timeout(PATIENCE, calls.recv()).await.expect("a call within a minute").expect("a call");
            assert_eq!(call, (client.clone(), hits));
        }
    }
}

#[test]
fn it_has_the_policy_of_the_other_bootstraps() {
    let policy_of = |bootstrap: Bootstrap| {
        let mut policy = Value::Null;
        drop(bootstrap.policy(|it| policy = it.clone()));
        policy
    };
    assert_eq!(policy_of(Bootstrap::limits()), policy_of(Bootstrap::wasm()));
}

async fn start(change: impl FnOnce(Bootstrap) -> Bootstrap) -> Gateway {
    let bootstrap = FLEET.behind(Bootstrap::limits()).endpoint("llama-8b", 1, FLEET.address("llama-8b"));
    Gateway::start(change(bootstrap.patient()), 1).await
}

fn of_team(team: &str, body: impl ToString) -> Request {
    Request::chat(body).header("authorization", &format!("Bearer replace-me-{team}"))
}

/// A descriptor's entries, and its hits.
type Call = (Vec<(String, String)>, u64);

/// Tells each call, and allows them all.
fn rate_limit_service() -> (SocketAddr, UnboundedReceiver<Call>) {
    let (sender, calls) = unbounded_channel();
    let answer = move |request: axum::extract::Request| {
        let sender = sender.clone();
        async move {
            let body = request.into_body().collect().await.expect("a message").to_bytes();
            let call = RateLimitRequest::decode(&body[5..]).expect("envoy.service.ratelimit.v3");
            for descriptor in call.descriptors {
                let entries = descriptor.entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
                let hits = descriptor.hits_addend.map_or(u64::from(call.hits_addend), |hits| hits.value);
                let _ = sender.send((entries, hits));
            }
            // overall_code: OK
            broken_sidecar::grpc(Bytes::from_static(&[0x08, 0x01]), "0")
        }
    };
    let router = Router::new().fallback(answer);
    (llm_router_tests::serve(|listener| async { axum::serve(listener, router).await }), calls)
}

/// `envoy.service.ratelimit.v3.RateLimitRequest`, as far as the test needs it.
#[derive(Clone, PartialEq, Message)]
struct RateLimitRequest {
    #[prost(message, repeated, tag = "2")]
    descriptors: Vec<Descriptor>,
    #[prost(uint32, tag = "3")]
    hits_addend: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Descriptor {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
    #[prost(message, optional, tag = "3")]
    hits_addend: Option<Hits>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Hits {
    #[prost(uint64, tag = "1")]
    value: u64,
}

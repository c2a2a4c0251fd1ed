//! What Envoy's own filter must carry out of the sidecar's decisions. Which decisions those are is the other tests'
//! business: they are made by the same crate as in our filter.

use hyper::Method;
use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fleet::FLEET;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{CODE, GREETING, assert_routed, bootstrap, received, shared_gateway};

async fn in_shadow() -> Envoy {
    static SHARED: OnceCell<Envoy> = OnceCell::const_new();
    let start = async || Envoy::start(&bootstrap().await.policy(|it| it["mode"] = json!("shadow"))).await;
    SHARED.get_or_init(start).await.clone()
}

#[test]
fn both_modes_ship_the_same_policy() {
    let policy_of = |bootstrap: Bootstrap| {
        let mut policy = Value::Null;
        drop(bootstrap.policy(|it| policy = it.clone()));
        policy
    };
    assert_eq!(policy_of(Bootstrap::native()), policy_of(Bootstrap::wasm()));
}

#[tokio::test]
async fn the_list_of_models_is_answered_by_the_sidecar() {
    let answer = shared_gateway().await.send(Request::new(Method::GET, "/v1/models", "")).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    let list = answer.json();
    let names: Vec<_> = list["data"].as_array().expect("a list").iter().map(|it| &it["id"]).collect();
    assert_eq!(names, ["auto", "always_70b", "task_router", "llama-70b", "llama-8b", "nemotron", "gpt-4o"]);
    assert!(FLEET.received(&answer.id).is_none(), "the request went on to an LLM");
}

#[tokio::test]
async fn a_compressed_body_is_an_unsupported_media_type() {
    let request = Request::chat(chat("auto", CODE)).header("content-encoding", "gzip");
    for request in [request.clone(), request.clone().in_pieces(10), request.http2()] {
        let answer = shared_gateway().await.send(request).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (415, "application/json"));
        assert_eq!(answer.json()["error"]["code"], "unsupported_encoding");
        assert!(FLEET.received(&answer.id).is_none(), "the request went on to an LLM");
    }
}

#[tokio::test]
async fn a_responses_input_is_classified_too() {
    let body = json!({ "model": "auto", "input": CODE });
    let answer = shared_gateway().await.send(Request::post("/v1/responses", body)).await;
    assert_routed(&answer, "nemotron", "classified");
}

#[tokio::test]
async fn a_model_at_another_host_and_path_is_asked_there() {
    let elsewhere = |it: &mut Value| {
        it["models"]["nemotron"]["base_path"] = json!("/openai/deployments/x");
        it["models"]["nemotron"]["host"] = json!("api.vendor.example");
    };
    let gateway = Envoy::start(&bootstrap().await.policy(elsewhere)).await;
    let request = Request::post("/team-a/v1/chat/completions?x=1", chat("auto", CODE));
    for request in [request.clone(), request.http2()] {
        let answer = gateway.send(request).await;
        assert_routed(&answer, "nemotron", "classified");
        let received = received(&answer);
        assert_eq!(received.path, "/openai/deployments/x/chat/completions?x=1");
        assert_eq!(received.headers["host"], "api.vendor.example");
    }
}

#[tokio::test]
async fn a_clients_key_reaches_the_llm() {
    let request = Request::chat(chat("auto", CODE)).header("authorization", "Bearer a-key");
    let answer = shared_gateway().await.send(request).await;
    assert_routed(&answer, "nemotron", "classified");
    assert_eq!(received(&answer).headers["authorization"], "Bearer a-key");
}

/// In our filter, each of Envoy's workers has a memory of its own.
#[tokio::test]
async fn the_sidecar_remembers_for_all_of_envoys_workers() {
    let cached = |it: &mut Value| it["cache"] = json!({ "entries": 10 });
    let gateway = Envoy::start(&bootstrap().await.policy(cached)).await;
    assert_routed(&gateway.send(Request::chat(chat("auto", CODE))).await, "nemotron", "classified");
    // Each has a connection of its own, and each connection a worker.
    for _ in 0..8 {
        assert_routed(&gateway.send(Request::chat(chat("auto", CODE))).await, "nemotron", "cached");
    }
}

#[tokio::test]
async fn in_shadow_a_request_goes_on_as_it_was_and_the_answer_tells_what_would_have_been() {
    let body =
        format!("{{ \"model\" : \"gpt-4.1\" ,\"messages\":[{{\"role\":\"user\",\"content\":\"{CODE}\"}}]}} ");
    let request = Request::chat(&body);
    for request in [request.clone(), request.clone().in_pieces(7), request.http2()] {
        let answer = in_shadow().await.send(request).await;
        assert_eq!(answer.header("x-served-by"), "llama-8b", "the fallback route's cluster");
        assert_eq!(answer.header("x-llm-router-model"), "nemotron");
        assert_eq!(answer.header("x-llm-router-reason"), "shadow");
        let received = received(&answer);
        assert_eq!(received.body, body);
        assert!(!received.headers.keys().any(|name| name.as_str().starts_with("x-llm-")));
    }
}

#[tokio::test]
async fn in_shadow_nothing_is_refused() {
    let big = chat("auto", &"x".repeat((8 << 20) + 1)).to_string();
    let unknown = chat("auto", GREETING).to_string();
    for request in [
        Request::chat("not JSON"),
        Request::chat(&big),
        Request::chat(&big).in_pieces(64 << 10),
        Request::chat(&unknown).header("x-llm-policy", "nope"),
        Request::chat(&unknown).header("content-encoding", "gzip"),
        Request::new(Method::GET, "/v1/models", ""),
    ] {
        let about = format!("{request:.200?}");
        let answer = in_shadow().await.send(request).await;
        assert_eq!(answer.header("x-served-by"), "llama-8b", "{about}");
        assert_eq!(answer.header("x-llm-router-model"), "", "{about}");
    }
}

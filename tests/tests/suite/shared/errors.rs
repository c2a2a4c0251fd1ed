//! Requests that are rejected: with a status that fits, in the shape that OpenAI's clients understand.

use llm_router_tests::client::{Request, chat};
use llm_router_tests::for_each_host;
use llm_router_tests::host::Host;
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{CODE, assert_rejected, shared_gateway};

const MAX_BODY: usize = 8 << 20;

#[apply(for_each_host!)]
async fn an_unknown_policy_is_not_found(host: Host) {
    let gateway = shared_gateway(host).await;
    let mut metadata = chat("auto", CODE);
    metadata["nim-llm-router"] = json!({ "policy": "nope" });
    let by_metadata = gateway.send(Request::chat(metadata)).await;
    assert_rejected(&by_metadata, 404, "nim-llm-router", "nope");

    let by_header = gateway.send(Request::chat(chat("auto", CODE)).header("x-llm-policy", "nope")).await;
    assert_rejected(&by_header, 404, "x-llm-policy", "nope");
}

/// Except with 400, after which Envoy closes each HTTP/1 connection, no matter which host responds.
#[apply(for_each_host!)]
async fn a_rejected_request_leaves_its_connection_open(host: Host) {
    let gateway = shared_gateway(host).await;
    let unknown = || Request::chat(chat("auto", CODE)).header("x-llm-policy", "nope");
    let requests = vec![
        unknown(),
        unknown().in_pieces(10),
        Request::chat(chat("llama-70b", CODE)),
        unknown(),
        Request::chat(chat("llama-70b", CODE)),
    ];
    let responses = Request::send_on_one_connection(requests, gateway.address()).await;
    let statuses: Vec<_> = responses.iter().map(|response| response.status.as_u16()).collect();
    assert_eq!(statuses, [404, 404, 200, 404, 200]);
}

#[apply(for_each_host!)]
async fn an_unknown_model_in_metadata_is_not_found(host: Host) {
    let mut body = chat("auto", CODE);
    body["nim-llm-router"] = json!({ "routing_strategy": "manual", "model": "nope" });
    let response = shared_gateway(host).await.send(Request::chat(body)).await;
    assert_rejected(&response, 404, "nim-llm-router", "nope");
}

#[apply(for_each_host!)]
async fn a_body_that_is_not_a_json_object_is_a_bad_request(host: Host) {
    let gateway = shared_gateway(host).await;
    let deep = "[".repeat(100_000);
    for body in ["hello", "{\"model\":\"auto\",", "[1]", "null", "{} {}", &deep, "\u{feff}{}"] {
        let response = gateway.send(Request::chat(body)).await;
        assert_rejected(&response, 400, Value::Null, "JSON");
    }
}

#[apply(for_each_host!)]
async fn a_field_of_the_wrong_type_is_named(host: Host) {
    let gateway = shared_gateway(host).await;
    let messages = json!([{ "role": "user", "content": CODE }]);
    for (body, field) in [
        (json!({ "model": 7, "messages": messages }), "model"),
        (json!({ "model": "auto", "messages": "hello" }), "messages"),
        (json!({ "model": "auto", "messages": [7] }), "messages"),
        (json!({ "model": "auto", "messages": [{ "content": "hello" }] }), "messages"),
        (json!({ "model": "auto", "messages": [{ "role": "user", "content": 7 }] }), "messages"),
        (json!({ "model": "auto", "messages": messages, "nim-llm-router": "task_router" }), "nim-llm-router"),
        (
            json!({ "messages": messages, "nim-llm-router": { "routing_strategy": "psychic" } }),
            "nim-llm-router",
        ),
        (
            json!({ "messages": messages, "nim-llm-router": { "routing_strategy": "manual" } }),
            "nim-llm-router",
        ),
    ] {
        let response = gateway.send(Request::chat(&body)).await;
        assert_rejected(&response, 400, field, field);
    }
}

#[apply(for_each_host!)]
async fn a_request_without_messages_is_a_bad_request(host: Host) {
    let gateway = shared_gateway(host).await;
    for body in [json!({ "model": "auto" }), json!({ "model": "auto", "messages": [] })] {
        assert_rejected(&gateway.send(Request::chat(body)).await, 400, "messages", "messages");
    }
}

#[apply(for_each_host!)]
async fn a_body_over_the_limit_is_too_large(host: Host) {
    let gateway = shared_gateway(host).await;
    let body = chat("auto", &"x".repeat(MAX_BODY)).to_string();
    let announced = Request::chat(&body);
    let growing = Request::chat(&body).in_pieces(64 << 10);
    for request in [announced.clone(), growing.clone(), announced.http2(), growing.http2()] {
        assert_rejected(&gateway.send(request).await, 413, Value::Null, "8388608");
    }
}

#[apply(for_each_host!)]
async fn a_body_of_just_the_limit_is_not_too_large(host: Host) {
    let frame = chat("auto", "").to_string().len();
    let body = chat("auto", &"x".repeat(MAX_BODY - frame)).to_string();
    let response = shared_gateway(host).await.send(Request::chat(&body)).await;
    assert_eq!((body.len(), response.status.as_u16()), (MAX_BODY, 200));
}

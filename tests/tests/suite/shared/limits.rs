//! Bodies that are refused before they are understood.

use llm_router_tests::client::{Request, chat};
use serde_json::Value;

use crate::assert_routed;
use crate::crafted::{assert_refused, gateway};

#[tokio::test]
async fn a_compressed_body_is_an_unsupported_media_type() {
    // An empty gzip file: https://www.rfc-editor.org/rfc/rfc1952
    let gzip = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3][..], &[0; 9]].concat();
    for encoding in ["gzip", "GZIP", "br", "identity, gzip"] {
        let request = Request::new(hyper::Method::POST, "/v1/chat/completions", gzip.clone());
        for request in [request.clone(), request.clone().in_pieces(5), request.http2()] {
            let answer = gateway().await.envoy.send(request.header("content-encoding", encoding)).await;
            assert_refused(&answer, 415, Value::Null, encoding);
            assert_eq!(answer.json()["error"]["code"], "unsupported_encoding");
        }
    }
}

#[tokio::test]
async fn a_body_that_says_that_it_is_not_compressed_is_read() {
    let request = Request::chat(chat("llama-70b", "Hi")).header("content-encoding", "identity");
    assert_routed(&gateway().await.envoy.send(request).await, "llama-70b", "manual");
}

#[tokio::test]
async fn a_body_that_is_nested_too_deeply_is_a_bad_request() {
    let nested = |field: &str, levels: usize| {
        let value = format!("{}1{}", "[{\"a\":".repeat(levels), "}]".repeat(levels));
        let body = chat("llama-70b", "Hi").to_string();
        format!("{},\"{field}\":{value}}}", body.strip_suffix('}').expect("an object"))
    };
    for field in ["tools", "something_else", "nim-llm-router"] {
        let answer = gateway().await.envoy.send(Request::chat(nested(field, 100_000))).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(
            answer.json()["error"]["message"].as_str().is_some_and(|it| it.contains("nested")),
            "{answer:?}"
        );
    }
    let fine = Request::chat(nested("tools", 20));
    assert_routed(&gateway().await.envoy.send(fine).await, "llama-70b", "manual");
}

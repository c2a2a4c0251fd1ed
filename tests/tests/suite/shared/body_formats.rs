//! Bodies that are rejected before they are understood.

use llm_router_tests::client::{Request, chat};
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::for_each_host;
use llm_router_tests::host::Host;
use macro_rules_attribute::apply;
use serde_json::Value;

use crate::support::{assert_rejected, assert_routed};

#[apply(for_each_host!)]
async fn a_compressed_body_is_an_unsupported_media_type(host: Host) {
    // An empty gzip file: https://www.rfc-editor.org/rfc/rfc1952
    let gzip = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3][..], &[0; 9]].concat();
    for encoding in ["gzip", "GZIP", "br", "identity, gzip"] {
        let request = Request::new(hyper::Method::POST, "/v1/chat/completions", gzip.clone());
        for request in [request.clone(), request.clone().in_pieces(5), request.http2()] {
            let response = ScriptedGateway::with_every_policy(host)
                .await
                .send(request.header("content-encoding", encoding))
                .await;
            assert_rejected(&response, 415, Value::Null, encoding);
            assert_eq!(response.json()["error"]["code"], "unsupported_encoding");
        }
    }
}

/// A server that honours the charset could read another `model` than the router.
#[apply(for_each_host!)]
async fn a_body_in_another_charset_is_an_unsupported_media_type(host: Host) {
    for (charset, named) in [("utf-7", "utf-7"), ("\"Shift_JIS\"", "shift_jis"), ("UTF-16LE", "utf-16le")] {
        let content_type = format!("application/json; charset={charset}");
        let request = Request::chat(chat("llama-70b", "Hi")).header("content-type", &content_type);
        let response = ScriptedGateway::with_every_policy(host).await.send(request).await;
        assert_rejected(&response, 415, Value::Null, named);
        assert_eq!(response.json()["error"]["code"], "unsupported_encoding");
    }
    let request =
        Request::chat(chat("llama-70b", "Hi")).header("content-type", "application/json; charset=UTF-8");
    assert_routed(&ScriptedGateway::with_every_policy(host).await.send(request).await, "llama-70b", "manual");
}

#[apply(for_each_host!)]
async fn a_body_that_says_that_it_is_not_compressed_is_read(host: Host) {
    let request = Request::chat(chat("llama-70b", "Hi")).header("content-encoding", "identity");
    assert_routed(&ScriptedGateway::with_every_policy(host).await.send(request).await, "llama-70b", "manual");
}

#[apply(for_each_host!)]
async fn a_body_that_is_nested_too_deeply_is_a_bad_request(host: Host) {
    let nested = |field: &str, levels: usize| {
        let value = format!("{}1{}", "[{\"a\":".repeat(levels), "}]".repeat(levels));
        let body = chat("llama-70b", "Hi").to_string();
        format!("{},\"{field}\":{value}}}", body.strip_suffix('}').expect("an object"))
    };
    for field in ["tools", "something_else", "nim-llm-router"] {
        let response =
            ScriptedGateway::with_every_policy(host).await.send(Request::chat(nested(field, 100_000))).await;
        assert_eq!(response.status, 400, "{response:?}");
        assert!(
            response.json()["error"]["message"].as_str().is_some_and(|it| it.contains("nested")),
            "{response:?}"
        );
    }
    let fine = Request::chat(nested("tools", 20));
    assert_routed(&ScriptedGateway::with_every_policy(host).await.send(fine).await, "llama-70b", "manual");
}

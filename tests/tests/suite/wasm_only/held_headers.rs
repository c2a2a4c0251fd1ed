//! An Envoy that does not let the filter hold headers hangs requests; the filter logs what is missing.

use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::host::Host;
use serde_json::json;

use crate::support::without_sidecar;

#[tokio::test]
async fn a_filter_that_is_shown_no_body_says_what_is_missing() {
    let option = "allow_on_headers_stop_iteration";
    let bootstrap =
        without_sidecar(Host::Wasm).filter("llm_router", |filter| filter["config"][option] = json!(false));
    let gateway = Envoy::start(&bootstrap).await;
    let hanging = gateway.clone();
    let request = tokio::spawn(async move { hanging.send(Request::chat(chat("llama-8b", "Hi"))).await });
    gateway.log_has(&format!("lacks {option}: true")).await;
    assert!(!request.is_finished());
    request.abort();
}

//! The log of requests that mock LLMs received.

use std::panic::{AssertUnwindSafe, catch_unwind};

use llm_router_tests::client::{Request, chat};
use llm_router_tests::host::Host;
use llm_router_tests::load::Load;

use crate::support::shared_gateway;

/// Tests that put thousands of requests on the mock LLMs run at the same time as tests of a single request.
#[tokio::test]
async fn under_load_an_assertion_that_a_request_was_not_forwarded_fails_if_it_was() {
    let gateway = shared_gateway(Host::Wasm).await;
    let request = || Request::chat(chat("llama-8b", "Hi"));
    let load = Load::start(gateway.address(), 4, request);
    let forwarded = gateway.send(request()).await;
    let rejected = gateway.send(Request::chat("not JSON")).await;
    load.more(2000).await;
    assert_eq!(forwarded.attempts().len(), 1);
    let assertion = catch_unwind(AssertUnwindSafe(|| forwarded.assert_not_forwarded()));
    assert!(assertion.is_err(), "the assertion holds although the request was forwarded");
    rejected.assert_not_forwarded();
    load.stop().await.assert_all_served();
}

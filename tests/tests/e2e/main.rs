//! Real requests through real Envoy, our filter and the real sidecar, to stand-ins for the LLMs.

// Tests fail by panics; this extends clippy's exemption to their helpers.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bodies;
mod broken_sidecar;
mod errors;
mod failure;
mod native;
mod routing;
mod spoofing;
mod stand_in;
mod streaming;
mod untouched;

use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Answer, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fleet::FLEET;
use llm_router_tests::sidecar::Sidecar;
use llm_router_tests::stand_in::Received;
use serde_json::json;
use tokio::sync::OnceCell;

const CODE: &str = "Write a Python function that returns the n-th Fibonacci number.";
const GREETING: &str = "Hi there! How are you doing today?";

/// The Envoy that tests share unless they need a configuration of their own: `envoy/wasm.yaml`, and a second
/// policy.
async fn shared_gateway() -> Envoy {
    static SHARED: OnceCell<Envoy> = OnceCell::const_new();
    let start = async || {
        let second = json!({ "classifier": "task", "routes": {}, "default": "llama-70b" });
        Envoy::start(&bootstrap().await.policy(|it| it["policies"]["always_70b"] = second)).await
    };
    SHARED.get_or_init(start).await.clone()
}

/// `envoy/wasm.yaml` with the real sidecar and the stand-ins.
async fn bootstrap() -> Bootstrap {
    let sidecar = Sidecar::shared().await.address;
    FLEET.behind(Bootstrap::wasm()).cluster("llm-router-sidecar", sidecar).patient()
}

/// A request of exactly so many bytes that asks for code.
fn code_of(bytes: usize) -> String {
    let mut body = chat("auto", CODE).to_string();
    let end = body.find(CODE).expect("the prompt") + CODE.len();
    body.insert_str(end, &" ".repeat(bytes - body.len()));
    body
}

/// The request as the LLM got it.
fn received(answer: &Answer) -> Received {
    FLEET.received(&answer.id).unwrap_or_else(|| panic!("no LLM got the request; {answer:?}"))
}

/// Checks that the model answered, and that the answer says so. Clusters are named as their models are.
#[track_caller]
fn assert_routed(answer: &Answer, model: &str, reason: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-served-by"), model, "{answer:?}");
    assert_eq!(answer.header("x-llm-router-model"), model, "{answer:?}");
    assert_eq!(answer.header("x-llm-router-reason"), reason, "{answer:?}");
}

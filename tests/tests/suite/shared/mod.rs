//! What must hold whoever decides, our filter or the sidecar, and what all tests need for that.

mod bodies;
pub(crate) mod broken_sidecar;
pub(crate) mod crafted;
mod errors;
mod fallback;
pub(crate) mod gateway;
mod limits;
mod memory;
pub(crate) mod obedient_sidecar;
mod policies;
mod protocols;
mod routing;
pub(crate) mod shadow;
mod spoofing;
mod stand_in;
mod stats;
mod streaming;
mod untouched;

use llm_router_tests::bootstrap::{Bootstrap, Mode};
use llm_router_tests::client::{Answer, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fleet::FLEET;
use llm_router_tests::sidecar::Sidecar;
use llm_router_tests::stand_in::Received;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::MODE;

pub(crate) const CODE: &str = "Write a Python function that returns the n-th Fibonacci number.";
pub(crate) const GREETING: &str = "Hi there! How are you doing today?";

/// The Envoy that tests share unless they need a configuration of their own: the mode's bootstrap, and two policies more.
pub(crate) async fn shared_gateway() -> Envoy {
    static SHARED: OnceCell<Envoy> = OnceCell::const_new();
    let start = async || {
        let second = json!({ "classifier": "task", "routes": {}, "default": "llama-70b" });
        let support = json!({ "classifier": "examples", "min_confidence": 0.45, "default": "llama-8b", "routes": {
            "billing": { "model": "llama-70b", "examples": ["where is my invoice", "I want a refund, please"] },
            "technical": { "model": "nemotron", "examples": ["the app crashes when I log in", "error 500 on upload"] },
        } });
        let policies = |it: &mut serde_json::Value| {
            it["policies"]["always_70b"] = second;
            it["policies"]["support"] = support;
        };
        Envoy::start(&bootstrap().await.policy(policies)).await
    };
    SHARED.get_or_init(start).await.clone()
}

/// The mode's bootstrap with the real sidecar and the stand-ins.
pub(crate) async fn bootstrap() -> Bootstrap {
    match MODE {
        Mode::Wasm => without_sidecar().sidecar(Sidecar::shared().await.address),
        // It gets its sidecar when it is started, by when tests have changed the policy.
        Mode::Native => without_sidecar(),
    }
}

/// The mode's bootstrap with the stand-ins, for a test that brings a sidecar of its own.
pub(crate) fn without_sidecar() -> Bootstrap {
    let shipped = match MODE {
        Mode::Wasm => Bootstrap::wasm(),
        Mode::Native => Bootstrap::native(),
    };
    FLEET.behind(shipped).patient()
}

/// A request of exactly so many bytes that asks for code.
pub(crate) fn code_of(bytes: usize) -> String {
    let mut body = chat("auto", CODE).to_string();
    let end = body.find(CODE).expect("the prompt") + CODE.len();
    body.insert_str(end, &" ".repeat(bytes - body.len()));
    body
}

/// The request as the LLM got it.
pub(crate) fn received(answer: &Answer) -> Received {
    FLEET.received(&answer.id).unwrap_or_else(|| panic!("no LLM got the request; {answer:?}"))
}

/// Checks that the model answered, and that the answer says so. Clusters are named as their models are.
#[track_caller]
pub(crate) fn assert_routed(answer: &Answer, model: &str, reason: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-served-by"), model, "{answer:?}");
    assert_eq!(answer.header("x-llm-router-model"), model, "{answer:?}");
    assert_eq!(answer.header("x-llm-router-reason"), reason, "{answer:?}");
}

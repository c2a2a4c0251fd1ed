//! The sidecar works, but does not have the classifier that the policy names, so nothing is classified.

use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::for_each_host;
use llm_router_tests::host::Host;
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{CODE, assert_routed, bootstrap, upstream_model};

#[apply(for_each_host!)]
async fn without_a_classification_the_default_model_is_used(host: Host) {
    let gateway = Envoy::start(&bootstrap(host).await.policy(missing_classifier)).await;
    let response = gateway.send(Request::chat(chat("auto", CODE))).await;
    assert_routed(&response, "llama-8b", "classifier_unavailable");
    assert_eq!(response.header("x-llm-router-label"), "");
    assert_eq!(upstream_model(&response), "meta/llama-3.1-8b-instruct");
}

#[apply(for_each_host!)]
async fn without_a_classification_requests_are_rejected_if_so_configured(host: Host) {
    let reject = |it: &mut Value| {
        missing_classifier(it);
        it["sidecar"]["on_failure"] = json!("reject");
    };
    let gateway = Envoy::start(&bootstrap(host).await.policy(reject)).await;
    let response = gateway.send(Request::chat(chat("auto", CODE))).await;
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").parse::<u32>().is_ok(), "{response:?}");
    assert_eq!(response.json()["error"]["type"], "server_error");
    response.assert_not_forwarded();
}

fn missing_classifier(policy: &mut Value) {
    policy["policies"]["task_router"]["classifier"] = json!("mood");
}

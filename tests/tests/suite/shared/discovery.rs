//! The filter's configuration, replaced while Envoy runs.

use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::host::Host;
use llm_router_tests::{for_each_host_inside_envoy, poll, scratch_file};
use macro_rules_attribute::apply;
use serde_json::json;

use crate::support::{assert_routed, without_sidecar};

#[apply(for_each_host_inside_envoy!)]
async fn a_new_configuration_loses_no_count(host: Host) {
    let file = scratch_file("filter", "yaml");
    let gateway = Envoy::start_with_workers(&without_sidecar(host).discovering(&file), 1).await;
    assert_routed(&gateway.send(Request::chat(chat("llama-8b", "Hi"))).await, "llama-8b", "manual");
    let changed = without_sidecar(host).policy(|it| it["aliases"]["new"] = json!("llama-70b"));
    let _ = changed.discovering(&file);
    poll(async || {
        let response = gateway.send(Request::chat(chat("new", "Hi"))).await;
        if response.header("x-llm-router-reason") == "alias" { Ok(()) } else { Err(response) }
    })
    .await;
    let manual =
        "llm_router_requests_total{llm_policy=\"none\",llm_model=\"llama-8b\",llm_reason=\"manual\"}";
    poll(async || {
        let count = gateway.stats().await.get(manual).copied();
        if count == Some(1.0) { Ok(()) } else { Err(count) }
    })
    .await;
}

//! The filter's configuration, replaced while Envoy runs.

use llm_router_tests::PATIENCE;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use crate::{assert_routed, without_sidecar};

#[tokio::test]
async fn a_new_configuration_loses_no_count() {
    let file = llm_router_tests::scratch_file("filter", "yaml");
    let gateway = Envoy::start_with_workers(&without_sidecar().discovering(&file), 1).await;
    assert_routed(&gateway.send(Request::chat(chat("llama-8b", "Hi"))).await, "llama-8b", "manual");
    let changed = without_sidecar().policy(|it| it["aliases"]["new"] = json!("llama-70b"));
    let _ = changed.discovering(&file);
    let start = Instant::now();
    while gateway.send(Request::chat(chat("new", "Hi"))).await.header("x-llm-router-reason") != "alias" {
        assert!(start.elapsed() < PATIENCE, "the new configuration did not come");
    }
    let manual = "llmrouter_requests_total{llm_policy=\"none\",llm_model=\"llama-8b\",llm_reason=\"manual\"}";
    while gateway.stats().await.get(manual) != Some(&1.0) {
        assert!(start.elapsed() < PATIENCE, "the count of the configuration before is lost");
        sleep(Duration::from_millis(50)).await;
    }
}

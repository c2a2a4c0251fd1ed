//! Names that the sidecar's cluster may have.

use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fleet::FLEET;
use llm_router_tests::sidecar::Sidecar;

use crate::{CODE, assert_routed};

/// Envoy sends the name as the call's `:authority`, and this one is none.
#[tokio::test]
async fn a_cluster_that_istio_named_is_called() {
    let sidecar = Sidecar::shared().await;
    let bootstrap = FLEET.behind(Bootstrap::wasm()).patient().sidecar(sidecar.address);
    let name = "outbound|50051||llm-router-sidecar.llm-router.svc.cluster.local";
    let gateway = Envoy::start(&bootstrap.sidecar_cluster(name)).await;
    let answer = gateway.send(Request::chat(chat("auto", CODE))).await;
    assert_routed(&answer, "nemotron", "classified");
}

//! Names that the sidecar's cluster may have.

use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fakes::scripted_sidecar::{ScriptedSidecar, labelled};
use llm_router_tests::for_each_host;
use llm_router_tests::host::Host;
use macro_rules_attribute::apply;

use crate::support::{assert_routed, without_sidecar};

/// The name is not a valid `:authority` of the call.
#[apply(for_each_host!)]
async fn a_cluster_that_istio_named_is_called(host: Host) {
    let name = "outbound|50051||llm-router-sidecar.llm-router.svc.cluster.local";
    let bootstrap = without_sidecar(host);
    let sidecar = ScriptedSidecar::start(bootstrap.sidecar_policy());
    let gateway = Envoy::start(&bootstrap.sidecar(sidecar.address).sidecar_cluster(name)).await;
    let response = gateway.send(Request::chat(chat("auto", &labelled("Code Generation")))).await;
    assert_routed(&response, "nemotron", "classified");
}

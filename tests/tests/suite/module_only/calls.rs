//! The calls to the sidecar, as HTTP/2 streams.

use llm_router_proto::envoy::service::ext_proc::v3::ProcessingResponse;
use llm_router_proto::structs::{fields, structure};
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fakes::broken_sidecar;
use llm_router_tests::host::Host;
use prost::Message;

use crate::support::{CODE, assert_routed, without_sidecar};

#[tokio::test]
async fn a_status_after_the_message_counts() {
    let label = structure([("label", "Code Generation".into()), ("confidence", 0.9.into())]);
    let ours = structure([("task", label)]);
    let metadata = Some(fields([("llm_router", ours)]));
    let message =
        ProcessingResponse { dynamic_metadata: metadata, ..ProcessingResponse::default() }.encode_to_vec();
    for (status, model, reason) in
        [("0", "nemotron", "classified"), ("13", "llama-8b", "classifier_unavailable")]
    {
        let address = broken_sidecar::responding(vec![(message.clone(), status)]);
        let gateway = Envoy::start(&without_sidecar(Host::Module).sidecar(address)).await;
        assert_routed(&gateway.send(Request::chat(chat("auto", CODE))).await, model, reason);
    }
}

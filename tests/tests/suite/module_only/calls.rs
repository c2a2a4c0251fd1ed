//! The calls to the sidecar, as HTTP/2 streams.

use llm_router_proto::envoy::service::ext_proc::v3::ProcessingResponse;
use llm_router_proto::structs::{fields, structure};
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fakes::broken_sidecar;
use llm_router_tests::host::Host;
use llm_router_tests::{TIMEOUT, poll, within};
use prost::Message;

use crate::support::{CODE, assert_routed, without_sidecar};

/// Requests of which nobody waits for a classification any more must not keep the sidecar busy.
#[tokio::test]
async fn a_call_ends_with_its_client() {
    let (address, mut reads) = broken_sidecar::silent();
    // No timeout: only the client's leaving can end the call.
    let gateway = Envoy::start(&without_sidecar(Host::Module).sidecar(address)).await;
    for request in [Request::chat(chat("auto", CODE)), Request::chat(chat("auto", CODE)).http2()] {
        let request = gateway.open(request);
        let asked = async {
            let is_prompt = |bytes: &[u8]| bytes.windows(CODE.len()).any(|window| window == CODE.as_bytes());
            while !is_prompt(&reads.recv().await.expect("a read")) {}
        };
        tokio::select! {
            response = request => panic!("{response:?}"),
            () = within(TIMEOUT, asked) => {}
        }
        // The request is dropped here, and its connection closed.
    }
    poll(async || {
        let stats = gateway.stats().await;
        let of_calls = ["upstream_rq_tx_reset", "upstream_rq_active"].map(|name| {
            let name = format!("envoy_cluster_{name}{{envoy_cluster_name=\"llm-router-sidecar\"}}");
            stats.get(&name).copied()
        });
        if of_calls == [Some(2.0), Some(0.0)] { Ok(()) } else { Err(of_calls) }
    })
    .await;
}

#[tokio::test]
async fn a_status_after_the_message_counts() {
    let label = structure([("label", "Code Generation".into()), ("confidence", 0.9.into())]);
    let ours = structure([("task", label)]);
    let metadata = Some(fields([("llm_router", ours)]));
    let message =
        ProcessingResponse { dynamic_metadata: metadata, ..ProcessingResponse::default() }.encode_to_vec();
    for (status, model, reason) in [("0", "nemotron", "classified"), ("13", "llama-8b", "fallback")] {
        let address = broken_sidecar::responding(vec![(message.clone(), status)]);
        let gateway = Envoy::start(&without_sidecar(Host::Module).sidecar(address)).await;
        assert_routed(&gateway.send(Request::chat(chat("auto", CODE))).await, model, reason);
    }
}

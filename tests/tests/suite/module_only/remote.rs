//! A module that Envoy fetches: `envoy/module-remote.yaml`. Without it, Envoy skips the filter, so the routes must let nothing pass.

use std::net::SocketAddr;

use llm_router_test_support::artifacts::MODULE;
use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fakes::file_server;
use llm_router_tests::mock_llms::MOCK_LLMS;
use llm_router_tests::{fresh, refusing_address};
use sha2::{Digest, Sha256};

use crate::support::assert_routed;

#[tokio::test]
async fn a_fetched_module_routes() {
    let (file, digest) = module();
    let gateway = start(&digest, file_server::start(file)).await;
    assert_routed(&gateway.send(Request::chat(chat("llama-70b", "Hi"))).await, "llama-70b", "manual");
}

#[tokio::test]
async fn without_the_module_no_request_reaches_an_llm() {
    let (file, digest) = module();
    let other = digest.chars().rev().collect::<String>();
    for (digest, server) in [(&other, file_server::start(file)), (&other, refusing_address())] {
        let gateway = start(digest, server).await;
        for request in [
            Request::chat(chat("llama-70b", "Hi")),
            Request::chat(chat("auto", "Hi")).header("x-llm-cluster", "llama-70b"),
            Request::new(hyper::Method::GET, "/v1/files", ""),
        ] {
            let response = gateway.send(request).await;
            assert_eq!(response.status, 503, "{response:?}");
            assert_eq!(response.json()["error"]["code"], "router_unavailable");
            response.assert_not_forwarded();
        }
    }
}

/// The module's file and its digest.
fn module() -> (Vec<u8>, String) {
    let mut file = std::fs::read(fresh(&MODULE)).expect("the module");
    // Each test needs another digest, because Envoy keeps what it fetched. A byte after the end changes only the digest.
    file.extend(std::process::id().to_le_bytes());
    let digest = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
    (file, digest)
}

async fn start(digest: &str, server: SocketAddr) -> Envoy {
    let bootstrap = MOCK_LLMS.behind(Bootstrap::module_remote(digest)).cluster("modules", server);
    Envoy::start(&bootstrap.with_long_timeouts().sidecar(refusing_address())).await
}

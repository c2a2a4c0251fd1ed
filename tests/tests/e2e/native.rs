//! The sidecar without our filter: Envoy's own ext_proc filter asks it, and routes match on its headers.

use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fleet::FLEET;
use llm_router_tests::sidecar::Sidecar;

use crate::{CODE, GREETING, broken_sidecar, received};

#[tokio::test]
async fn envoys_own_filter_routes_by_the_sidecars_header() {
    let sidecar = Sidecar::shared().await.address;
    let gateway = Envoy::start(&native().cluster("llm-router-sidecar", sidecar).patient()).await;
    let large = format!("{CODE}{}", " ".repeat(5 << 20));
    let spoofed = Request::chat(chat("auto", GREETING)).header("x-llm-task", "Code Generation");
    for (request, model) in [
        (Request::chat(chat("auto", CODE)), "nemotron"),
        (Request::chat(chat("auto", CODE)).in_pieces(10).trailer("x-checksum", "abc").http2(), "nemotron"),
        (Request::chat(chat("auto", &large)), "nemotron"),
        (Request::chat(chat("auto", "What is the capital of Australia?")), "llama-70b"),
        (Request::chat(chat("auto", GREETING)), "llama-8b"),
        (spoofed, "llama-8b"),
        (Request::chat("not JSON"), "llama-8b"),
        (Request::new(hyper::Method::GET, "/v1/models", ""), "llama-8b"),
    ] {
        let about = format!("{request:.300?}");
        let answer = gateway.send(request).await;
        assert_eq!(answer.header("x-served-by"), model, "{about}");
    }
}

#[tokio::test]
async fn without_a_sidecar_envoys_own_filter_lets_requests_go_on() {
    let gateway = Envoy::start(&native().cluster("llm-router-sidecar", broken_sidecar::absent())).await;
    let body = chat("auto", CODE).to_string();
    let answer = gateway.send(Request::chat(&body)).await;
    assert_eq!(answer.header("x-served-by"), "llama-8b");
    assert_eq!(received(&answer).body, body);
}

fn native() -> Bootstrap {
    FLEET.behind(Bootstrap::native())
}

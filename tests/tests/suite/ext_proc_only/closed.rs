//! `envoy/native-closed.yaml`: nothing reaches an LLM without a decision, however the sidecar fails.

use hyper::header::HeaderValue;
use llm_router_proto::envoy::service::ext_proc::v3::{
    BodyResponse, HeadersResponse, ProcessingResponse, processing_response::Response,
};
use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fakes::broken_sidecar;
use llm_router_tests::mock_llms::MOCK_LLMS;
use llm_router_tests::refusing_address;
use prost::Message;

use crate::support::{CODE, assert_routed};

fn answer(response: Response) -> Vec<u8> {
    ProcessingResponse { response: Some(response), ..ProcessingResponse::default() }.encode_to_vec()
}

#[tokio::test]
async fn what_is_decided_goes_to_its_model_and_the_rest_nowhere() {
    let gateway = Envoy::start(&MOCK_LLMS.behind(Bootstrap::native_closed()).with_long_timeouts()).await;
    assert_routed(&gateway.send(Request::chat(chat("auto", CODE))).await, "nemotron", "classified");
    assert_routed(&gateway.send(Request::chat(chat("llama-70b", CODE))).await, "llama-70b", "manual");
    let response = gateway.send(Request::post("/v1/files", "x")).await;
    assert_eq!(
        (response.status.as_u16(), response.json()["error"]["code"].as_str()),
        (503, Some("router_unavailable"))
    );
    response.assert_not_forwarded();
    let spoofed = Request::post("/v1/files", "x").header("x-llm-cluster", "nemotron");
    gateway.send(spoofed).await.assert_not_forwarded();
}

/// If a call ends without an error and without a response, Envoy lets the request pass.
#[tokio::test]
async fn without_a_decision_no_request_reaches_an_llm() {
    let (silent, _reads) = broken_sidecar::silent();
    let (headers, body) = (
        answer(Response::RequestHeaders(HeadersResponse::default())),
        answer(Response::RequestBody(BodyResponse::default())),
    );
    let ends = [
        (Vec::new(), "0"),
        (headers.clone(), "0"),
        (headers, "14"),
        (body, "0"),
        (b"no message".to_vec(), "0"),
    ];
    let calls = ends.len();
    for (address, calls) in [
        (refusing_address(), 1),
        (silent, 1),
        (broken_sidecar::not_grpc(), 1),
        (broken_sidecar::failing("0", HeaderValue::from_static("")), 1),
        (broken_sidecar::responding(ends.to_vec()), calls),
    ] {
        let gateway = Envoy::start(&MOCK_LLMS.behind(Bootstrap::native_closed()).sidecar(address)).await;
        for _ in 0..calls {
            let response = gateway.send(Request::chat(chat("auto", CODE))).await;
            assert!(matches!(response.status.as_u16(), 503 | 504), "{response:?}");
            response.assert_not_forwarded();
        }
    }
}

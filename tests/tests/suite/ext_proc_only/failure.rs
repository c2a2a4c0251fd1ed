//! The sidecar fails. Nobody else knows the policy or its default, so requests go on as they were sent, on the fallback
//! route. Our filter would take the policy's default instead: see the other mode's tests of the same name.

use std::net::SocketAddr;
use std::time::Duration;

use llm_router_proto::envoy::service::ext_proc::v3::{
    HeadersResponse, ProcessingResponse, processing_response::Response,
};
use llm_router_tests::PATIENCE;
use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fleet::FLEET;
use prost::Message;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{CODE, bootstrap, broken_sidecar, received};

/// Only tells Envoy's message timeout of 1 s from its other ones, of 15 s and more, however busy the machine is.
const PROMPTLY: Duration = Duration::from_secs(10);

#[tokio::test]
async fn without_a_sidecar_requests_go_on_as_they_were_sent() {
    let gateway = Envoy::start(&with_sidecar(broken_sidecar::absent())).await;
    assert_goes_on(&gateway).await;
}

#[tokio::test]
async fn a_silent_sidecar_is_not_waited_for() {
    let (address, _reads) = broken_sidecar::silent();
    let gateway = Envoy::start(&with_sidecar(address)).await;
    assert_goes_on(&gateway).await;
}

#[tokio::test]
async fn a_sidecar_that_answers_nonsense_is_ignored() {
    // The last is RESOURCE_EXHAUSTED.
    let answers = [(b"no message".to_vec(), "0"), (Vec::new(), "0"), (Vec::new(), "8")];
    let (calls, address) = (answers.len(), broken_sidecar::answering(answers.to_vec()));
    let gateway = Envoy::start(&with_sidecar(address)).await;
    for _ in 0..calls {
        assert_goes_on(&gateway).await;
    }
}

#[tokio::test]
async fn a_sidecar_that_speaks_no_grpc_is_ignored() {
    let gateway = Envoy::start(&with_sidecar(broken_sidecar::not_grpc())).await;
    assert_goes_on(&gateway).await;
}

/// Of `on_failure` only the sidecar knows.
#[tokio::test]
async fn without_a_sidecar_requests_go_on_even_if_the_policy_would_reject_them() {
    let reject = Bootstrap::native().policy(|it| it["sidecar"]["on_failure"] = json!("reject"));
    let gateway = Envoy::start(&FLEET.behind(reject).sidecar(broken_sidecar::absent())).await;
    assert_goes_on(&gateway).await;
}

#[tokio::test]
async fn a_sidecar_that_breaks_off_before_it_has_decided_is_ignored() {
    let response = Some(Response::RequestHeaders(HeadersResponse::default()));
    let headers = ProcessingResponse { response, dynamic_metadata: None }.encode_to_vec();
    // UNAVAILABLE, and an end that is none.
    let answers = [(headers.clone(), "14"), (headers, "0")];
    let (calls, address) = (answers.len(), broken_sidecar::answering(answers.to_vec()));
    let gateway = Envoy::start(&with_sidecar(address)).await;
    for _ in 0..calls {
        assert_goes_on(&gateway).await;
    }
}

#[tokio::test]
async fn without_a_sidecar_envoy_rejects_requests_if_so_configured() {
    let (silent, _reads) = broken_sidecar::silent();
    for (address, status) in [(broken_sidecar::absent(), 503), (silent, 504)] {
        let closed = with_sidecar(address).ext_proc(|filter| {
            filter["failure_mode_allow"] = json!(false);
            filter["status_on_error"] = json!({ "code": "ServiceUnavailable" });
        });
        let gateway = Envoy::start(&closed).await;
        let answer = timeout(PROMPTLY, gateway.send(Request::chat(chat("auto", CODE)))).await;
        let answer = answer.expect("an answer at once");
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(FLEET.received(&answer.id).is_none(), "the request went on to an LLM");
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_the_sidecar_is_asked_harms_nobody() {
    let (address, mut reads) = broken_sidecar::silent();
    // No timeout: only the client's leaving can end the wait.
    let bootstrap = FLEET.behind(Bootstrap::native()).patient().sidecar(address);
    let gateway = Envoy::start(&bootstrap.idle_timeout("1s")).await;
    for _ in 0..3 {
        let request = gateway.open(Request::chat(chat("auto", CODE)));
        tokio::select! {
            answer = request => panic!("{answer:?}"),
            asked = timeout(PATIENCE, reads.recv()) => assert!(asked.expect("a call within a minute").is_some()),
        }
        // The request is dropped here, and its connection closed.
    }
    // Nor does Envoy's own answer, when it has waited long enough for the sidecar.
    let answer = gateway.send(Request::chat(chat("auto", CODE))).await;
    assert!(answer.status.is_client_error() || answer.status.is_server_error(), "{answer:?}");
    let answer = gateway.send(Request::chat(chat("auto", CODE)).http2()).await;
    assert!(answer.status.is_client_error() || answer.status.is_server_error(), "{answer:?}");
}

#[tokio::test]
async fn an_answer_goes_on_when_the_sidecar_that_reads_it_dies() {
    let unique = |it: &mut Value| it["policies"]["task_router"]["min_confidence"] = json!(0.31);
    let mut gateway = Envoy::start(&bootstrap().await.reading_answers().policy(unique)).await;
    let mut body = chat("auto", CODE);
    body["stream"] = json!(true);
    let request = Request::chat(body);
    let gate = FLEET.hold(request.id());
    let open = gateway.open(request);
    gate.release(1);
    let mut answer = open.await;
    assert_eq!(answer.headers["x-llm-router-model"], "nemotron");
    let mut events = vec![answer.next_event().await.expect("an event")];
    gateway.kill_sidecar();
    gate.open();
    while let Some(event) = answer.next_event().await {
        events.push(event);
    }
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{events:?}");
}

fn with_sidecar(address: SocketAddr) -> Bootstrap {
    FLEET.behind(Bootstrap::native()).sidecar(address)
}

async fn assert_goes_on(gateway: &Envoy) {
    let body = chat("auto", CODE).to_string();
    let spoofed =
        Request::chat(&body).header("x-llm-cluster", "nemotron").header("x-llm-task", "Code Generation");
    let answer = timeout(PROMPTLY, gateway.send(spoofed)).await.expect("an answer at once");
    assert_eq!((answer.status.as_u16(), answer.header("x-served-by")), (200, "llama-8b"), "{answer:?}");
    assert_eq!(answer.header("x-llm-router-model"), "");
    let received = received(&answer);
    assert_eq!(received.body, body);
    assert!(!received.headers.keys().any(|name| name.as_str().starts_with("x-llm-")), "{received:?}");
}

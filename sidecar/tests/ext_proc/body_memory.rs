//! All bodies together stay within the memory limit.

use llm_router_proto::envoy::service::ext_proc::v3::{
    HttpHeaders, ProcessingResponse, processing_request::Request, processing_response::Response,
};
use serde_json::json;
use tonic::Code;

use super::routing::policy;
use super::{
    BODY_MEMORY, CHAT, PROMPT, begun, body, body_answer, exchange, gated, message, metric, next,
    open as open_stream, rejection, request_headers, serve, serve_with, serve_within, set_headers,
};

/// A body so large that eight of them exceed the memory limit.
fn large() -> String {
    PROMPT.replacen('{', &format!(r#"{{"metadata":"{}","#, "x".repeat(BODY_MEMORY / 8)), 1)
}

#[tokio::test]
async fn a_body_is_rejected_while_there_is_no_memory_left() {
    let (backend, has_begun, open) = gated();
    let running = serve(backend, 16).await;
    let first = tokio::spawn(exchange(running.client.clone(), vec![body(&large())]));
    let _has_begun = begun(has_begun).await;
    let waiting: Vec<_> =
        (0..6).map(|_| tokio::spawn(exchange(running.client.clone(), vec![body(&large())]))).collect();
    metric(&running.metrics, "queue_depth 6").await;

    let status = exchange(running.client.clone(), vec![body(&large())]).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let small = tokio::spawn(exchange(running.client.clone(), vec![body(PROMPT)]));

    for _ in 0..8 {
        open.send(()).unwrap();
    }
    assert!(first.await.unwrap().is_ok() && small.await.unwrap().is_ok());
    for waiting in waiting {
        assert!(waiting.await.unwrap().is_ok());
    }
    metric(&running.metrics, "body_bytes 0").await;
    open.send(()).unwrap();
    assert!(exchange(running.client, vec![body(&large())]).await.is_ok());
}

/// After an error, an Envoy that is configured to continue without a sidecar would let the request bypass the
/// policy.
#[tokio::test]
async fn a_routed_request_gets_a_response_when_there_is_no_memory_left() {
    for mode in ["enforce", "shadow"] {
        let policy = policy(|it| {
            it["mode"] = json!(mode);
            it["limits"] = json!({ "max_body": "16MiB" });
        });
        let (backend, has_begun, open) = gated();
        let running = serve_with(Some(policy), backend, 16).await;
        let held: Vec<_> =
            (0..7).map(|_| tokio::spawn(exchange(running.client.clone(), vec![body(&large())]))).collect();
        let _has_begun = begun(has_begun).await;
        metric(&running.metrics, "queue_depth 6").await;

        // Like Envoy, sends the body after the response to the headers.
        let (messages, mut answers) = open_stream(running.client.clone()).await.unwrap();
        messages.unbounded_send(body(&large())).unwrap();
        let answer = next(&mut answers).await.unwrap().unwrap();
        if mode == "shadow" {
            assert_eq!(body_answer(&answer).body_mutation, None, "{answer:?}");
        } else {
            assert_eq!(rejection(&answer), (503, json!("router_overloaded")));
        }
        metric(&running.metrics, r#"requests_total{outcome="overloaded"} 1"#).await;
        for _ in &held {
            open.send(()).unwrap();
        }
        for held in held {
            assert!(held.await.unwrap().is_ok());
        }
        metric(&running.metrics, "body_bytes 0").await;
    }
}

#[tokio::test]
async fn a_request_whose_headers_find_no_memory_gets_a_response() {
    let (backend, has_begun, open) = gated();
    let running = serve_with(Some(policy(|_| {})), backend, 16).await;
    let held: Vec<_> =
        (0..7).map(|_| tokio::spawn(exchange(running.client.clone(), vec![body(&large())]))).collect();
    let _has_begun = begun(has_begun).await;
    metric(&running.metrics, "queue_depth 6").await;

    let value = "x".repeat(BODY_MEMORY / 8);
    let headers = request_headers(&[(":method", "POST"), (":path", CHAT), ("x-large", &value)]);
    let answers = exchange(running.client.clone(), vec![headers]).await.unwrap();
    let [answer] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!(rejection(answer), (503, json!("router_overloaded")));
    for _ in &held {
        open.send(()).unwrap();
    }
    for held in held {
        assert!(held.await.unwrap().is_ok());
    }
}

/// Otherwise clients whose LLM has responded already would suffer from the bodies of others.
#[tokio::test]
async fn response_headers_need_no_memory_of_bodies() {
    let (backend, has_begun, open) = gated();
    let running = serve_within(4 << 10, Some(policy(|_| {})), backend, 16).await;
    let (messages, mut answers) = open_stream(running.client.clone()).await.unwrap();
    messages.unbounded_send(body(PROMPT)).unwrap();
    let has_begun = begun(has_begun).await;
    open.send(()).unwrap();
    assert_eq!(set_headers(&next(&mut answers).await.unwrap().unwrap())["x-llm-cluster"], "coder");

    // Takes all permits.
    let filling = PROMPT.replacen('{', &format!(r#"{{"metadata":"{}","#, "x".repeat(3500)), 1);
    let filling = tokio::spawn(exchange(running.client.clone(), vec![body(&filling)]));
    let _has_begun = begun(has_begun).await;
    let rejected = exchange(running.client.clone(), vec![body(PROMPT)]).await.unwrap();
    assert!(is_overloaded(&rejected), "the memory is not full: {rejected:?}");

    messages.unbounded_send(message(Request::ResponseHeaders(HttpHeaders::default()))).unwrap();
    let answer = next(&mut answers).await.unwrap().unwrap();
    assert!(matches!(answer.response, Some(Response::ResponseHeaders(_))), "{answer:?}");
    // A further request gets at least a response of its own.
    let (messages, mut answers) = open_stream(running.client.clone()).await.unwrap();
    messages.unbounded_send(body(PROMPT)).unwrap();
    assert!(is_overloaded(&[next(&mut answers).await.unwrap().unwrap()]));

    open.send(()).unwrap();
    assert!(filling.await.unwrap().is_ok());
}

fn is_overloaded(answers: &[ProcessingResponse]) -> bool {
    let [ProcessingResponse { response: Some(Response::ImmediateResponse(answer)), .. }] = answers else {
        return false;
    };
    answer.status.as_ref().is_some_and(|status| status.code == 503)
}

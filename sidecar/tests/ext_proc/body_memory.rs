//! Bodies take no more memory than they may, all together.

use llm_router_proto::envoy::service::ext_proc::v3::{ProcessingResponse, processing_response::Response};
use serde_json::{Value, json};
use tonic::Code;

use super::routing::policy;
use super::{
    BODY_MEMORY, CHAT, PROMPT, begun, body, body_answer, exchange, gated, metric, next, open as open_stream,
    request_headers, serve, serve_with,
};

/// A prompt with so many bytes beside it that eight take more than all may.
fn large() -> String {
    PROMPT.replacen('{', &format!(r#"{{"metadata":"{}","#, "x".repeat(BODY_MEMORY / 8)), 1)
}

#[tokio::test]
async fn a_body_for_which_there_is_no_memory_left_is_refused_until_there_is() {
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

/// With an error, Envoy would let the request pass by the policy where it is told to go on without a sidecar.
#[tokio::test]
async fn a_request_that_is_routed_gets_an_answer_when_there_is_no_memory_left() {
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

        // The body comes once the headers are answered, as Envoy sends it.
        let (messages, mut answers) = open_stream(running.client.clone()).await.unwrap();
        messages.unbounded_send(body(&large())).unwrap();
        let answer = next(&mut answers).await.unwrap().unwrap();
        if mode == "shadow" {
            assert_eq!(body_answer(&answer).body_mutation, None, "{answer:?}");
        } else {
            let Some(Response::ImmediateResponse(answer)) = &answer.response else { panic!("{answer:?}") };
            let json: Value = serde_json::from_slice(&answer.body).unwrap();
            let status = answer.status.as_ref().unwrap().code;
            assert_eq!((status, &json["error"]["code"]), (503, &json!("router_overloaded")));
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
async fn a_request_whose_headers_find_no_memory_gets_an_answer() {
    let (backend, has_begun, open) = gated();
    let running = serve_with(Some(policy(|_| {})), backend, 16).await;
    let held: Vec<_> =
        (0..7).map(|_| tokio::spawn(exchange(running.client.clone(), vec![body(&large())]))).collect();
    let _has_begun = begun(has_begun).await;
    metric(&running.metrics, "queue_depth 6").await;

    let value = "x".repeat(BODY_MEMORY / 8);
    let headers = request_headers(&[(":method", "POST"), (":path", CHAT), ("x-large", &value)]);
    let answers = exchange(running.client.clone(), vec![headers]).await.unwrap();
    let [ProcessingResponse { response: Some(Response::ImmediateResponse(answer)), .. }] = answers.as_slice()
    else {
        panic!("{answers:?}")
    };
    let json: Value = serde_json::from_slice(&answer.body).unwrap();
    let status = answer.status.as_ref().unwrap().code;
    assert_eq!((status, &json["error"]["code"]), (503, &json!("router_overloaded")));
    for _ in &held {
        open.send(()).unwrap();
    }
    for held in held {
        assert!(held.await.unwrap().is_ok());
    }
}

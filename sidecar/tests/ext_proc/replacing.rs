//! The model or the policy is replaced while requests are in progress.

use std::sync::{Arc, Weak};

use anyhow::Result;
use llm_router_classifier::engine::Backend;
use llm_router_classifier::model::prediction::{Outputs, Prediction};
use llm_router_classifier::model::tokenizer::Tokens;
use llm_router_proto::envoy::service::ext_proc::v3::processing_response::Response;
use llm_router_test_support::time::poll;

use super::routing::policy;
use super::{
    CHAT, CommonResponse, PROMPT, ProcessingResponse, Sure, begun, body, body_answer, exchange, gated,
    headers, metric, next, open, serve, serve_with, service, set_headers,
};

/// A model whose memory can be observed.
struct Observed {
    _memory: Arc<()>,
}

impl Observed {
    fn new() -> (Self, Weak<()>) {
        let memory = Arc::new(());
        let weak = Arc::downgrade(&memory);
        (Self { _memory: memory }, weak)
    }
}

impl Backend for Observed {
    fn classify(&self, texts: &[&Tokens], outputs: Outputs) -> Result<Vec<Prediction>> {
        Sure.classify(texts, outputs)
    }
}

async fn unloaded(memory: &Weak<()>) {
    poll(async || if memory.strong_count() == 0 { Ok(()) } else { Err("the model is in memory".to_owned()) })
        .await;
}

/// A client can keep a stream open for as long as it likes.
#[tokio::test]
async fn an_open_stream_does_not_keep_a_replaced_model_in_memory() {
    let (first, first_memory) = Observed::new();
    let running = serve_with(Some(policy(|_| ())), first, 8).await;
    let (waiting, mut waiting_answers) = open(running.client.clone()).await.unwrap();
    let (routed, mut routed_answers) = open(running.client.clone()).await.unwrap();
    routed.unbounded_send(body(PROMPT)).unwrap();
    next(&mut routed_answers).await.unwrap().unwrap();

    let (second, second_memory) = Observed::new();
    running.service.replace(service(Some(policy(|_| ())), second, 8, running.metrics.clone()));
    unloaded(&first_memory).await;
    running.service.replace(service(Some(policy(|_| ())), Sure, 8, running.metrics.clone()));
    unloaded(&second_memory).await;

    // The current model classifies it.
    waiting.unbounded_send(body(PROMPT)).unwrap();
    let answer = next(&mut waiting_answers).await.unwrap().unwrap();
    assert_eq!(set_headers(&answer)["x-llm-cluster"], "coder");
    drop(routed);
}

#[tokio::test]
async fn a_request_is_routed_by_the_policy_at_its_arrival() {
    let running = serve_with(Some(policy(|_| ())), Sure, 8).await;
    let (messages, mut answers) = open(running.client.clone()).await.unwrap();

    let other = policy(|policy| policy["policies"]["p"]["routes"]["Code Generation"] = "small".into());
    running.service.replace(service(Some(other), Sure, 8, running.metrics.clone()));

    messages.unbounded_send(body(PROMPT)).unwrap();
    let answer = next(&mut answers).await.unwrap().unwrap();
    assert_eq!(set_headers(&answer)["x-llm-cluster"], "coder");
    let answers = exchange(running.client, vec![headers(CHAT), body(PROMPT)]).await.unwrap();
    assert_eq!(set_headers(&answers[1])["x-llm-cluster"], "small");
}

#[tokio::test]
async fn a_replaced_engine_finishes_its_requests() {
    let (backend, has_begun, open) = gated();
    let running = serve(backend, 8).await;
    let first = tokio::spawn(exchange(running.client.clone(), vec![body(PROMPT)]));
    let _has_begun = begun(has_begun).await;
    let waiting = tokio::spawn(exchange(running.client.clone(), vec![body(PROMPT)]));
    metric(&running.metrics, "queue_depth 1").await;

    running.service.replace(service(None, Sure, 8, running.metrics.clone()));

    assert!(exchange(running.client, vec![body(PROMPT)]).await.is_ok());
    open.send(()).unwrap();
    open.send(()).unwrap();
    assert!(first.await.unwrap().is_ok() && waiting.await.unwrap().is_ok());
}

#[tokio::test]
async fn the_message_limit_is_the_policys_even_after_it_was_replaced() {
    let running = serve_with(Some(policy(|_| ())), Sure, 8).await;
    // Not JSON.
    let huge = "x".repeat(20 << 20);
    let answers = exchange(running.client.clone(), vec![headers(CHAT), body(&huge)]).await.unwrap();
    assert_eq!(rejected(&answers[1]), 413);

    let roomy = policy(|policy| policy["limits"]["max_body"] = "32MiB".into());
    running.service.replace(service(Some(roomy), Sure, 8, running.metrics.clone()));
    let answers = exchange(running.client, vec![headers(CHAT), body(&huge)]).await.unwrap();
    assert_eq!(rejected(&answers[1]), 400);
}

/// In shadow mode, such a request continues.
#[tokio::test]
async fn a_message_over_the_limit_is_decided_as_its_body_would_be() {
    let running = serve_with(Some(policy(|policy| policy["mode"] = "shadow".into())), Sure, 8).await;
    let huge = "x".repeat(20 << 20);
    let answers = exchange(running.client, vec![headers(CHAT), body(&huge)]).await.unwrap();
    assert_eq!(body_answer(&answers[1]), &CommonResponse::default());
}

fn rejected(answer: &ProcessingResponse) -> u32 {
    match &answer.response {
        Some(Response::ImmediateResponse(response)) => response.status.as_ref().unwrap().code,
        other => panic!("{other:?}"),
    }
}

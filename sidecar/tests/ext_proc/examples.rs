//! Policies with few-shot examples, with the real model: examples are embedded when a caller sends them, or
//! when the policy is loaded.

use std::time::Duration;

use futures_util::future::select_all;
use llm_router_classifier::model::Model;
use llm_router_proto::contract::{Classifiers, ClassifyRequest, FewShotExamples, RequestedExamples};
use llm_router_proto::envoy::service::ext_proc::v3::{ProcessingRequest, ProcessingResponse};
use llm_router_proto::structs::{as_struct, structure};
use llm_router_routing::config::{Classifier, Examples};
use serde_json::json;
use tch::Device;
use tokio::time::timeout;
use tonic::Code;

use super::classifying::request;
use super::routing::policy;
use llm_router_test_support::time::poll;

use super::{
    CHAT, PROMPT, begun, body, exchange, gated, headers, metric, model, serve, serve_with, set_headers,
};

const TIMEOUT: Duration = Duration::from_secs(20);

fn minilm() -> Model {
    Model::load(&model(), Device::Cpu).unwrap().0
}

fn examples() -> Examples {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    Examples::new(
        [
            ("billing".to_owned(), texts(&["where is my invoice", "I want a refund, please"])),
            ("technical".to_owned(), texts(&["the app crashes when I log in", "error 500 on upload"])),
        ]
        .into(),
    )
}

/// A call of our filter that classifies a text by these examples.
fn by_examples(text: &str, examples: FewShotExamples) -> ProcessingRequest {
    let prompt = json!({"messages": [{"role": "user", "content": text}]});
    let request = request(Classifier::EXAMPLES, &prompt.to_string());
    ClassifyRequest { examples: Some(examples.into()), ..request }.encode()
}

#[track_caller]
fn label(answers: &[ProcessingResponse]) -> String {
    let [answer] = answers else { panic!("{answers:?}") };
    set_headers(answer)["x-llm-examples"].clone()
}

/// The examples of a candidate policy, which no client must wait for.
#[tokio::test]
async fn predictions_of_heads_do_not_wait_for_optional_examples() {
    let running = serve(minilm(), 8).await;
    let ask = async |examples: FewShotExamples| {
        let request = ClassifyRequest {
            classifiers: Classifiers::Named(vec!["task".to_owned(), Classifier::EXAMPLES.to_owned()]),
            examples: Some(RequestedExamples { examples, are_optional: true }),
            ..request("task", PROMPT)
        };
        exchange(running.client.clone(), vec![request.encode()]).await
    };
    let full = FewShotExamples::Full(examples().into());
    let digest = FewShotExamples::Digest(full.digest().to_owned());
    assert_eq!(ask(digest.clone()).await.unwrap_err().code(), Code::FailedPrecondition);
    let answers = ask(full).await.unwrap();
    assert!(set_headers(&answers[0]).contains_key("x-llm-task"), "{answers:?}");
    poll(async || {
        let headers = set_headers(&ask(digest.clone()).await.unwrap()[0]);
        assert!(headers.contains_key("x-llm-task"), "{headers:?}");
        if headers.contains_key("x-llm-examples") { Ok(()) } else { Err(format!("{headers:?}")) }
    })
    .await;
}

#[tokio::test]
async fn examples_are_requested_once() {
    let running = serve(minilm(), 8).await;
    let full = FewShotExamples::Full(examples().into());
    let digest = FewShotExamples::Digest(full.digest().to_owned());
    let ask = async |text, examples: &FewShotExamples| {
        exchange(running.client.clone(), vec![by_examples(text, examples.clone())]).await
    };
    let unknown = ask("My bill is wrong", &digest).await.unwrap_err();
    assert_eq!(unknown.code(), Code::FailedPrecondition);
    assert_eq!(label(&ask("My bill is wrong", &full).await.unwrap()), "billing");
    assert_eq!(label(&ask("It says internal server error", &digest).await.unwrap()), "technical");
    let metrics = running.metrics.encode();
    assert!(metrics.contains("requests_total{outcome=\"unknown_examples\"} 1"), "{metrics}");
}

#[tokio::test]
async fn callers_examples_are_bounded_and_prompts_come_first() {
    let (backend, has_begun, open) = gated();
    let running = serve(backend, 8).await;
    let call = |number: usize| {
        let texts = (0..100).map(|text| format!("set {number}, text {text}")).collect();
        let examples = Examples::new([("billing".to_owned(), texts)].into());
        let call = by_examples("My bill is wrong", FewShotExamples::Full(examples.into()));
        Box::pin(exchange(running.client.clone(), vec![call]))
    };
    // No text is embedded before the gate opens, so the one that ends was rejected.
    let (rejected, _, pending) = timeout(TIMEOUT, select_all((0..17).map(call))).await.unwrap();
    assert_eq!(rejected.unwrap_err().code(), Code::ResourceExhausted);
    let pending: Vec<_> = pending.into_iter().map(|call| tokio::spawn(call)).collect();

    let _has_begun = begun(has_begun).await;
    let prompt = tokio::spawn(exchange(running.client.clone(), vec![body(PROMPT)]));
    timeout(TIMEOUT, metric(&running.metrics, "queue_depth 1")).await.unwrap();
    // For the text that the worker has, and for the prompt.
    (0..2).for_each(|_| open.send(()).unwrap());
    assert!(timeout(TIMEOUT, prompt).await.unwrap().unwrap().is_ok());
    pending.iter().for_each(tokio::task::JoinHandle::abort);
    // The worker has one more text, which nobody waits for.
    drop(open);
}

#[tokio::test]
async fn examples_of_another_digest_are_rejected() {
    let running = serve(minilm(), 8).await;
    let mut call = by_examples("My bill is wrong", FewShotExamples::Full(examples().into()));
    let ours = call.metadata_context.as_mut().unwrap().filter_metadata.get_mut("llm_router").unwrap();
    let wrong = as_struct(&ours.fields["examples"]).unwrap().fields.clone().into_iter();
    ours.fields.insert("examples".to_owned(), structure(wrong.chain([("digest".to_owned(), "0123".into())])));
    let refused = exchange(running.client, vec![call]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("digest"), "{refused}");
}

#[tokio::test]
async fn the_sidecars_own_policy_can_have_examples() {
    let examples = examples();
    let route = |label: &str, model: &str| json!({"model": model, "examples": examples.routes()[label]});
    let router = policy(|it| {
        it["policies"]["p"] = json!({
            "classifier": "examples", "min_confidence": 0.4, "default": "small",
            "routes": {"billing": route("billing", "small"), "technical": route("technical", "coder")},
        });
    });
    let running = serve_with(Some(router), minilm(), 8).await;
    for (prompt, cluster) in [("It says internal server error", "coder"), ("Refund my bill", "small")] {
        let prompt = json!({"messages": [{"role": "user", "content": prompt}]}).to_string();
        let answers = exchange(running.client.clone(), vec![headers(CHAT), body(&prompt)]).await.unwrap();
        let set = set_headers(&answers[1]);
        assert_eq!(set["x-llm-cluster"], cluster, "{set:?}");
        assert!(set.contains_key("x-llm-examples-confidence"), "{set:?}");
    }
}

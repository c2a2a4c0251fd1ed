//! Policies by examples, with the real model: they are learnt when a caller sends them, or with the policy.

use llm_router_classifier::model::Model;
use llm_router_proto::envoy::service::ext_proc::v3::{ProcessingRequest, ProcessingResponse};
use llm_router_proto::{DIGEST, EXAMPLES, Kind, ListValue, METADATA_NAMESPACE, ROUTES, Struct, Value};
use llm_router_routing::config::Examples;
use serde_json::json;
use tch::Device;
use tonic::Code;

use super::classifying::wanting;
use super::routing::policy;
use super::{CHAT, body, exchange, headers, model, serve, serve_with, set_headers};

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

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn structure(fields: impl IntoIterator<Item = (String, Value)>) -> Value {
    value(Kind::StructValue(Struct { fields: fields.into_iter().collect() }))
}

fn list(texts: &[String]) -> Value {
    let values = texts.iter().map(|text| value(Kind::StringValue(text.clone()))).collect();
    value(Kind::ListValue(ListValue { values }))
}

/// A call of our filter about a text, by its examples' digest, and with the examples if it was asked for them.
fn by_examples(text: &str, digest: &str, examples: Option<&Examples>) -> ProcessingRequest {
    let prompt = json!({"messages": [{"role": "user", "content": text}]});
    let mut call = wanting(EXAMPLES, body(&prompt.to_string()));
    let digest = (DIGEST.to_owned(), value(Kind::StringValue(digest.to_owned())));
    let routes = examples.map(|examples| {
        let routes = examples.routes().iter().map(|(label, texts)| (label.clone(), list(texts)));
        (ROUTES.to_owned(), structure(routes))
    });
    let ours = call.metadata_context.as_mut().unwrap().filter_metadata.get_mut(METADATA_NAMESPACE).unwrap();
    ours.fields.insert(EXAMPLES.to_owned(), structure([Some(digest), routes].into_iter().flatten()));
    call
}

#[track_caller]
fn label(answers: &[ProcessingResponse]) -> String {
    let [answer] = answers else { panic!("{answers:?}") };
    set_headers(answer)["x-llm-examples"].clone()
}

#[tokio::test]
async fn examples_are_asked_for_once() {
    let running = serve(minilm(), 8).await;
    let examples = examples();
    let ask = async |text, examples_too: bool| {
        let call = by_examples(text, examples.digest(), examples_too.then_some(&examples));
        exchange(running.client.clone(), vec![call]).await
    };
    let unknown = ask("My bill is wrong", false).await.unwrap_err();
    assert_eq!(unknown.code(), Code::FailedPrecondition);
    assert_eq!(label(&ask("My bill is wrong", true).await.unwrap()), "billing");
    assert_eq!(label(&ask("It says internal server error", false).await.unwrap()), "technical");
    let metrics = running.metrics.encode();
    assert!(metrics.contains("requests_total{outcome=\"unknown_examples\"} 1"), "{metrics}");
}

#[tokio::test]
async fn examples_of_another_digest_are_refused() {
    let running = serve(minilm(), 8).await;
    let call = by_examples("My bill is wrong", "0123", Some(&examples()));
    let refused = exchange(running.client, vec![call]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("digest"), "{refused}");
}

#[tokio::test]
async fn a_policy_of_the_sidecars_own_can_go_by_examples() {
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

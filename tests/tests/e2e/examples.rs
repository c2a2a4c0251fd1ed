//! Policies by examples: the sidecar is told them when it asks, and not again.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use bytes::Bytes;
use llm_router_proto::envoy::service::ext_proc::v3::{
    ProcessingRequest, ProcessingResponse, processing_request,
};
use llm_router_proto::{DIGEST, EXAMPLES, Kind, METADATA_NAMESPACE, ROUTES, Struct};
use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Answer, Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fleet::FLEET;
use prost::Message;
use serde_json::json;

use crate::assert_routed;
use crate::broken_sidecar::grpc;

type Routes = BTreeMap<String, Vec<String>>;

/// What a call told of examples.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Nothing,
    Digest(String),
    Examples(String, Routes),
}

/// A sidecar that learns examples by heart: a prompt has the label of the example that it contains.
struct Learner {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Told>>>,
}

#[derive(Clone, Copy)]
enum Memory {
    Good,
    None,
}

impl Learner {
    fn start(memory: Memory) -> Self {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&calls);
        let known: Arc<Mutex<HashMap<String, Routes>>> = Arc::default();
        let answer = async move |call: Bytes| {
            let (told, text) = read(&call);
            log.lock().expect("no panic").push(told.clone());
            let mut known = known.lock().expect("no panic");
            let digest = match told {
                Told::Nothing => return grpc(Bytes::new(), "9"),
                Told::Digest(digest) => digest,
                Told::Examples(digest, routes) => {
                    if let Memory::Good = memory {
                        known.insert(digest.clone(), routes);
                    }
                    digest
                }
            };
            match known.get(&digest) {
                Some(routes) => grpc(answer(routes, &text).encode_to_vec().into(), "0"),
                None => grpc(Bytes::new(), "9"),
            }
        };
        let router = Router::new().fallback(answer);
        let address = llm_router_tests::serve(|listener| async { axum::serve(listener, router).await });
        Self { address, calls }
    }

    fn calls(&self) -> Vec<Told> {
        self.calls.lock().expect("no panic").clone()
    }

    async fn gateway(&self) -> Envoy {
        let bootstrap = FLEET.behind(Bootstrap::wasm()).cluster("llm-router-sidecar", self.address);
        let bootstrap = bootstrap.patient().policy(|it| {
            it["policies"]["support"] = json!({ "classifier": "examples", "default": "llama-8b", "routes": {
                "billing": { "model": "llama-70b", "examples": ["where is my invoice", "refund please"] },
                "tech": { "model": "nemotron", "examples": ["it crashed"] },
            } });
        });
        Envoy::start_with_workers(&bootstrap, 1).await
    }
}

fn read(call: &[u8]) -> (Told, String) {
    // After the flag for compression and the length.
    let request = ProcessingRequest::decode(&call[5..]).expect("a request");
    let Some(processing_request::Request::RequestBody(body)) = request.request else { panic!("no body") };
    let ours = &request.metadata_context.expect("metadata").filter_metadata[METADATA_NAMESPACE];
    let told = match ours.fields.get(EXAMPLES) {
        None => Told::Nothing,
        Some(value) => {
            let examples = structure(value);
            let digest = string(&examples.fields[DIGEST]);
            match examples.fields.get(ROUTES) {
                None => Told::Digest(digest),
                Some(value) => {
                    let routes = structure(value).fields.iter();
                    Told::Examples(
                        digest,
                        routes.map(|(label, texts)| (label.clone(), list(texts))).collect(),
                    )
                }
            }
        }
    };
    (told, String::from_utf8(body.body.to_vec()).expect("UTF-8"))
}

fn structure(value: &llm_router_proto::Value) -> &Struct {
    let Some(Kind::StructValue(inner)) = &value.kind else { panic!("{value:?}") };
    inner
}

fn string(value: &llm_router_proto::Value) -> String {
    let Some(Kind::StringValue(text)) = &value.kind else { panic!("{value:?}") };
    text.clone()
}

fn list(value: &llm_router_proto::Value) -> Vec<String> {
    let Some(Kind::ListValue(list)) = &value.kind else { panic!("{value:?}") };
    list.values.iter().map(string).collect()
}

fn answer(routes: &Routes, text: &str) -> ProcessingResponse {
    let alike = routes.iter().find(|(_, examples)| examples.iter().any(|example| text.contains(example)));
    let (label, confidence) = alike.map_or(("tech", 0.0), |(label, _)| (label.as_str(), 0.75));
    let fields = |kinds: Vec<(&str, Kind)>| {
        let field =
            |(name, kind): (&str, Kind)| (name.to_owned(), llm_router_proto::Value { kind: Some(kind) });
        Struct { fields: kinds.into_iter().map(field).collect() }
    };
    let scores = fields(vec![
        ("label", Kind::StringValue(label.to_owned())),
        ("confidence", Kind::NumberValue(confidence)),
    ]);
    let ours = fields(vec![(EXAMPLES, Kind::StructValue(scores))]);
    let metadata = fields(vec![(METADATA_NAMESPACE, Kind::StructValue(ours))]);
    ProcessingResponse { dynamic_metadata: Some(metadata), ..Default::default() }
}

async fn send(envoy: &Envoy, policy: &str, prompt: &str) -> Answer {
    envoy.send(Request::chat(chat(policy, prompt))).await
}

#[tokio::test]
async fn a_prompt_goes_where_its_most_alike_examples_go() {
    let sidecar = Learner::start(Memory::Good);
    let envoy = sidecar.gateway().await;
    for (prompt, model, label) in [
        ("Hello, where is my invoice?", "llama-70b", "billing"),
        ("I clicked, and it crashed", "nemotron", "tech"),
        ("A refund please!", "llama-70b", "billing"),
    ] {
        let answer = send(&envoy, "support", prompt).await;
        assert_routed(&answer, model, "classified");
        assert_eq!(answer.header("x-llm-router-label"), label);
        assert_eq!(answer.header("x-llm-router-confidence"), "0.750");
    }
    let calls = sidecar.calls();
    let Told::Digest(digest) = calls[0].clone() else { panic!("{calls:?}") };
    let billing = ["where is my invoice", "refund please"].map(str::to_owned).to_vec();
    let routes = [("billing".to_owned(), billing), ("tech".to_owned(), vec!["it crashed".to_owned()])];
    assert_eq!(
        calls[1..],
        [Told::Examples(digest.clone(), routes.into()), Told::Digest(digest.clone()), Told::Digest(digest),]
    );
}

#[tokio::test]
async fn a_sidecar_that_does_not_learn_is_told_once_a_request() {
    let sidecar = Learner::start(Memory::None);
    let envoy = sidecar.gateway().await;
    for requests in 1..=2 {
        assert_routed(&send(&envoy, "support", "it crashed").await, "llama-8b", "fallback");
        assert_eq!(sidecar.calls().len(), 2 * requests);
    }
}

#[tokio::test]
async fn examples_are_not_told_where_there_are_none() {
    let sidecar = Learner::start(Memory::None);
    let envoy = sidecar.gateway().await;
    assert_routed(&send(&envoy, "auto", "it crashed").await, "llama-8b", "fallback");
    assert_eq!(sidecar.calls(), [Told::Nothing]);
}

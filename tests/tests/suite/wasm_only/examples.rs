//! Policies by examples: the filter sends them when the sidecar asks, and not again.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use bytes::Bytes;
use llm_router_proto::contract::{
    CONTRACT_VERSION, ClassifyRequest, ClassifyResponse, FewShotExamples, HeadPrediction,
};
use llm_router_proto::envoy::service::ext_proc::v3::{ProcessingRequest, ProcessingResponse};
use llm_router_routing::config::{Classifier, Examples};
use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Answer, Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fleet::FLEET;
use prost::Message;
use serde_json::json;

use crate::assert_routed;
use crate::broken_sidecar::grpc;

type Routes = BTreeMap<String, Vec<String>>;

/// A sidecar that learns examples by heart: a prompt has the label of the example that it contains.
struct Learner {
    address: SocketAddr,
    /// The examples that each call carried.
    calls: Calls,
}

type Calls = Arc<Mutex<Vec<Option<FewShotExamples>>>>;

#[derive(Clone, Copy)]
enum Memory {
    Good,
    None,
}

impl Learner {
    fn start(memory: Memory) -> Self {
        let calls = Calls::default();
        let log = Arc::clone(&calls);
        let known: Arc<Mutex<HashMap<String, Routes>>> = Arc::default();
        let answer = async move |call: Bytes| {
            let (sent, text) = read(&call);
            log.lock().expect("no panic").push(sent.clone());
            let mut known = known.lock().expect("no panic");
            if let (Some(FewShotExamples::Full(examples)), Memory::Good) = (&sent, memory) {
                known.insert(examples.digest().to_owned(), examples.routes().clone());
            }
            match sent.and_then(|sent| known.get(sent.digest())) {
                Some(routes) => grpc(answer(routes, &text).encode_to_vec().into(), "0"),
                None => grpc(Bytes::new(), "9"),
            }
        };
        let router = Router::new().fallback(answer);
        let address = llm_router_tests::serve(|listener| async { axum::serve(listener, router).await });
        Self { address, calls }
    }

    fn calls(&self) -> Vec<Option<FewShotExamples>> {
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

fn read(call: &[u8]) -> (Option<FewShotExamples>, String) {
    // After the flag for compression and the length.
    let message = ProcessingRequest::decode(&call[5..]).expect("a message");
    let request = ClassifyRequest::decode(message).expect("a request of the contract");
    assert_eq!(request.version, CONTRACT_VERSION);
    (request.examples, String::from_utf8(request.body.to_vec()).expect("UTF-8"))
}

fn answer(routes: &Routes, text: &str) -> ProcessingResponse {
    let alike = routes.iter().find(|(_, examples)| examples.iter().any(|example| text.contains(example)));
    let (label, confidence) = alike.map_or(("tech", 0.0), |(label, _)| (label.as_str(), 0.75));
    let prediction = HeadPrediction::Label { label: label.to_owned(), confidence, scores: Vec::new() };
    let predictions = [(Classifier::EXAMPLES.to_owned(), prediction)].into();
    let response = ClassifyResponse { version: CONTRACT_VERSION, predictions, coverage: None };
    ProcessingResponse { response: None, dynamic_metadata: Some(response.into_metadata()) }
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
    let billing = ["where is my invoice", "refund please"].map(str::to_owned).to_vec();
    let routes = [("billing".to_owned(), billing), ("tech".to_owned(), vec!["it crashed".to_owned()])];
    let full = FewShotExamples::Full(Examples::new(routes.into()).into());
    let digest = FewShotExamples::Digest(full.digest().to_owned());
    assert_eq!(sidecar.calls(), [digest.clone(), full, digest.clone(), digest].map(Some));
}

#[tokio::test]
async fn a_sidecar_that_does_not_learn_is_sent_the_examples_once_a_request() {
    let sidecar = Learner::start(Memory::None);
    let envoy = sidecar.gateway().await;
    for requests in 1..=2 {
        assert_routed(&send(&envoy, "support", "it crashed").await, "llama-8b", "fallback");
        assert_eq!(sidecar.calls().len(), 2 * requests);
    }
}

#[tokio::test]
async fn examples_are_not_sent_where_there_are_none() {
    let sidecar = Learner::start(Memory::None);
    let envoy = sidecar.gateway().await;
    assert_routed(&send(&envoy, "auto", "it crashed").await, "llama-8b", "fallback");
    assert_eq!(sidecar.calls(), [None]);
}

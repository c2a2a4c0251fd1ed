//! A sidecar that classifies by few-shot examples and records which part of them each call contained.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use bytes::Bytes;
use llm_router_proto::contract::{
    CONTRACT_VERSION, ClassifyRequest, ClassifyResponse, FewShotExamples, HeadPrediction,
};
use llm_router_proto::envoy::service::ext_proc::v3::{ProcessingRequest, ProcessingResponse};
use llm_router_routing::config::Classifier;
use prost::Message;

use super::broken_sidecar::grpc;

/// Labels and their examples.
pub type Routes = BTreeMap<String, Vec<String>>;

/// The part of the few-shot examples in a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Sent {
    /// Nothing.
    Nothing,
    /// Their digest.
    Digest(String),
    /// Their digest and the examples.
    Examples(String, Routes),
}

/// Whether a sidecar keeps the examples that it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Examples {
    /// It keeps them.
    Kept,
    /// It asks for them at each call.
    Forgotten,
}

/// A running sidecar: a prompt has the label of the example that it contains.
#[derive(Debug)]
pub struct FewShotSidecar {
    /// Where it serves ext_proc.
    pub address: SocketAddr,
    calls: Arc<Mutex<Vec<Sent>>>,
}

impl FewShotSidecar {
    /// Starts one.
    #[must_use]
    pub fn start(examples: Examples) -> Self {
        const FAILED_PRECONDITION: &str = "9";
        let calls = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&calls);
        let known: Arc<Mutex<HashMap<String, Routes>>> = Arc::default();
        let respond = async move |call: Bytes| {
            let (sent, text) = read(&call);
            log.lock().expect("no panic").push(sent.clone());
            let mut known = known.lock().expect("no panic");
            let digest = match sent {
                Sent::Nothing => return grpc(Bytes::new(), FAILED_PRECONDITION),
                Sent::Digest(digest) => digest,
                Sent::Examples(digest, routes) => {
                    if examples == Examples::Kept {
                        known.insert(digest.clone(), routes);
                    }
                    digest
                }
            };
            match known.get(&digest) {
                Some(routes) => grpc(classify(routes, &text).encode_to_vec().into(), "0"),
                None => grpc(Bytes::new(), FAILED_PRECONDITION),
            }
        };
        let router = Router::new().fallback(respond);
        let address = crate::serve(|listener| async { axum::serve(listener, router).await });
        Self { address, calls }
    }

    /// The part of the few-shot examples in each call, in the order of the calls.
    ///
    /// # Panics
    /// If the sidecar panicked.
    #[must_use]
    pub fn calls(&self) -> Vec<Sent> {
        self.calls.lock().expect("no panic").clone()
    }
}

fn read(call: &[u8]) -> (Sent, String) {
    // After the flag for compression and the length.
    let message = ProcessingRequest::decode(&call[5..]).expect("a request");
    let request = ClassifyRequest::decode(message).expect("a request of the contract");
    let sent = match request.examples.map(|requested| requested.examples) {
        None => Sent::Nothing,
        Some(FewShotExamples::Digest(digest)) => Sent::Digest(digest),
        Some(FewShotExamples::Full(examples)) => {
            Sent::Examples(examples.digest().to_owned(), examples.routes().clone())
        }
    };
    (sent, String::from_utf8(request.body.to_vec()).expect("UTF-8"))
}

fn classify(routes: &Routes, text: &str) -> ProcessingResponse {
    let alike = routes.iter().find(|(_, examples)| examples.iter().any(|example| text.contains(example)));
    let (label, confidence) = alike.map_or(("tech", 0.0), |(label, _)| (label.as_str(), 0.75));
    let prediction = HeadPrediction::Label { label: label.to_owned(), confidence, scores: Vec::new() };
    let predictions = vec![(Classifier::EXAMPLES.to_owned(), prediction)];
    let response = ClassifyResponse { version: CONTRACT_VERSION, predictions, coverage: None };
    ProcessingResponse { dynamic_metadata: Some(response.into_metadata()), ..Default::default() }
}

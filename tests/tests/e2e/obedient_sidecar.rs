//! A sidecar whose classifiers answer what the prompt tells them to, so that a test can be about any answer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use bytes::Bytes;
use llm_router_proto::envoy::service::ext_proc::v3::{
    ProcessingRequest, ProcessingResponse, processing_request,
};
use llm_router_proto::{CLASSIFIERS, Kind, METADATA_NAMESPACE, Struct};
use prost::Message;
use serde_json::{Value, json};

use crate::broken_sidecar::grpc;

/// What comes before the answer in a prompt.
const ANSWER: &str = "The answer: ";

/// A prompt about `topic`, classified as `label`.
pub(crate) fn labelled(topic: &str, label: &str) -> String {
    format!("{topic}\n{ANSWER}{}", json!({ "label": label, "confidence": 0.875 }))
}

/// A prompt about `topic`, of this score.
pub(crate) fn scored(topic: &str, score: f32) -> String {
    dimensioned(topic, score, json!({}))
}

/// A prompt about `topic`, of this score and with these scores of its dimensions.
pub(crate) fn dimensioned(topic: &str, score: f32, dimensions: Value) -> String {
    format!("{topic}\n{ANSWER}{}", json!({ "score": score, "scores": dimensions }))
}

/// A running one.
#[derive(Clone)]
pub(crate) struct ObedientSidecar {
    pub(crate) address: SocketAddr,
    texts: Arc<Mutex<Vec<String>>>,
}

impl ObedientSidecar {
    pub(crate) fn start() -> Self {
        let texts = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&texts);
        let answer = async move |call: Bytes| {
            let (classifier, text) = read(&call);
            let answer = answer(&classifier, &text);
            log.lock().expect("no panic").push(text);
            grpc(answer.encode_to_vec().into(), "0")
        };
        let router = Router::new().fallback(answer);
        let address = llm_router_tests::serve(|listener| async { axum::serve(listener, router).await });
        Self { address, texts }
    }

    /// How often it was asked about a text with `topic` in it.
    pub(crate) fn asked_about(&self, topic: &str) -> usize {
        let texts = self.texts.lock().expect("no panic");
        texts.iter().filter(|text| text.contains(topic)).count()
    }
}

/// The classifier that is asked for, and the text.
fn read(call: &[u8]) -> (String, String) {
    // After the flag for compression and the length.
    let request = ProcessingRequest::decode(&call[5..]).expect("a request");
    let ours = &request.metadata_context.expect("metadata").filter_metadata[METADATA_NAMESPACE];
    let Some(Kind::ListValue(classifiers)) = &ours.fields[CLASSIFIERS].kind else { panic!("{ours:?}") };
    let Some(Kind::StringValue(classifier)) = &classifiers.values[0].kind else { panic!("{classifiers:?}") };
    let Some(processing_request::Request::RequestBody(body)) = request.request else { panic!("no body") };
    let body: Value = serde_json::from_slice(&body.body).expect("JSON");
    let turns = body["messages"].as_array().expect("messages");
    let texts: Vec<_> = turns.iter().filter_map(|turn| turn["content"].as_str()).collect();
    (classifier.clone(), texts.join("\n"))
}

/// The last answer in the text; none if there is none in it.
fn answer(classifier: &str, text: &str) -> ProcessingResponse {
    let wanted = text.rsplit_once(ANSWER).and_then(|(_, answer)| answer.lines().next());
    let wanted = wanted.and_then(|answer| serde_json::from_str(answer).ok());
    let answer = json!({ METADATA_NAMESPACE: { classifier: wanted.unwrap_or_else(|| json!({})) } });
    let Some(Kind::StructValue(dynamic_metadata)) = proto(&answer).kind else { panic!("{answer}") };
    ProcessingResponse { dynamic_metadata: Some(dynamic_metadata), ..Default::default() }
}

fn proto(value: &Value) -> llm_router_proto::Value {
    let kind = match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), proto(value))).collect();
            Kind::StructValue(Struct { fields })
        }
        Value::Number(number) => Kind::NumberValue(number.as_f64().expect("a double")),
        Value::String(text) => Kind::StringValue(text.clone()),
        other => panic!("{other} is no part of an answer"),
    };
    llm_router_proto::Value { kind: Some(kind) }
}

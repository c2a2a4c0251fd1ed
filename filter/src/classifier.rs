//! The call to the sidecar: our part of external processing, as one message each way.

use std::fmt;
use std::time::Duration;

use llm_router_proto::envoy::config::core::v3::Metadata;
use llm_router_proto::envoy::service::ext_proc::v3::{
    HttpBody, ProcessingRequest, ProcessingResponse, processing_request,
};
use llm_router_proto::{
    CLASSIFIERS, DIGEST, EXAMPLES, Kind, ListValue, METADATA_NAMESPACE, METHOD, ROUTES, SERVICE, Struct,
    UNKNOWN_DIGEST, Value,
};
use llm_router_routing::classification::{Classification, Label, Score};
use llm_router_routing::config::{Classifier, Examples};
use llm_router_routing::request::TextToClassify;
use prost::Message;
use proxy_wasm::types::Status;

use crate::host::{self, CallId};

/// What of a policy's examples is sent along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Teach {
    /// Their digest: the sidecar has learnt them, or will ask.
    Digest,
    /// All of them, since it asked.
    Examples,
}

/// Asks the sidecar's `classifier` about the text, for an answer within `limit`.
///
/// # Errors
/// The call failed at once: the cluster is not configured, say.
pub(crate) fn ask(
    cluster: &str,
    classifier: &Classifier,
    text: &TextToClassify,
    teach: Teach,
    limit: Duration,
) -> Result<CallId, Status> {
    let message = request(classifier, text, teach).encode_to_vec();
    host::call_grpc(cluster, SERVICE, METHOD, &message, limit)
}

/// Whether the sidecar wants to be told the examples that the classifier goes by.
pub(crate) fn wants_examples(status: u32, classifier: &Classifier) -> bool {
    status == UNKNOWN_DIGEST && classifier.examples().is_some()
}

/// Why there is no classification.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// The call ended with another gRPC status than OK.
    Status(u32),
    /// The answer is not one of the contract.
    NoClassification(Classifier),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "the sidecar answered with gRPC status {status}"),
            Self::NoClassification(classifier) => {
                write!(f, "the sidecar's answer has no classification by {classifier}")
            }
        }
    }
}

/// Reads the sidecar's answer, in the call's callback.
pub(crate) fn answer(status: u32, size: usize, classifier: &Classifier) -> Result<Classification, Failure> {
    const OK: u32 = 0;
    if status != OK {
        return Err(Failure::Status(status));
    }
    let message = host::grpc_answer(size).unwrap_or_default();
    read(&message, classifier).ok_or_else(|| Failure::NoClassification(classifier.clone()))
}

fn request(classifier: &Classifier, text: &TextToClassify, teach: Teach) -> ProcessingRequest {
    let mut ours = Struct { fields: [(CLASSIFIERS.to_owned(), list([classifier.as_str()]))].into() };
    if let Some(known) = classifier.examples() {
        ours.fields.insert(EXAMPLES.to_owned(), examples(known, teach));
    }
    let body = HttpBody { body: text.to_body().into(), end_of_stream: true };
    ProcessingRequest {
        request: Some(processing_request::Request::RequestBody(body)),
        metadata_context: Some(Metadata { filter_metadata: [(METADATA_NAMESPACE.to_owned(), ours)].into() }),
    }
}

fn examples(examples: &Examples, teach: Teach) -> Value {
    let mut fields = Struct { fields: [(DIGEST.to_owned(), string(examples.digest()))].into() };
    if teach == Teach::Examples {
        let routes = examples.routes().iter();
        let routes = routes.map(|(label, texts)| (label.clone(), list(texts.iter().map(String::as_str))));
        let routes = Kind::StructValue(Struct { fields: routes.collect() });
        fields.fields.insert(ROUTES.to_owned(), Value { kind: Some(routes) });
    }
    Value { kind: Some(Kind::StructValue(fields)) }
}

fn string(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    let values = texts.into_iter().map(string).collect();
    Value { kind: Some(Kind::ListValue(ListValue { values })) }
}

fn read(message: &[u8], classifier: &Classifier) -> Option<Classification> {
    let metadata = ProcessingResponse::decode(message).ok()?.dynamic_metadata?;
    let ours = as_struct(metadata.fields.get(METADATA_NAMESPACE)?)?;
    let answer = as_struct(ours.fields.get(classifier.as_str())?)?;
    match answer.fields.get("score") {
        Some(score) => {
            let dimensions = answer.fields.get("scores").and_then(as_struct);
            let dimensions = dimensions.iter().flat_map(|scores| &scores.fields);
            let dimensions = dimensions.filter_map(|(name, score)| Some((name.as_str(), as_number(score)?)));
            Score::new(as_number(score)?, dimensions).ok().map(Classification::Score)
        }
        None => {
            let Kind::StringValue(label) = answer.fields.get("label")?.kind.as_ref()? else { return None };
            let confidence = as_number(answer.fields.get("confidence")?)?;
            Label::new(label, confidence).ok().map(Classification::Label)
        }
    }
}

fn as_struct(value: &Value) -> Option<&Struct> {
    match &value.kind {
        Some(Kind::StructValue(inner)) => Some(inner),
        _ => None,
    }
}

fn as_number(value: &Value) -> Option<f32> {
    match value.kind {
        Some(Kind::NumberValue(number)) => Some(number as f32),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classifier() -> Classifier {
        Classifier::from("task")
    }

    fn answer_with(scores: Struct) -> Vec<u8> {
        let nested = |key: &str, inner: Struct| Struct {
            fields: [(key.to_owned(), Value { kind: Some(Kind::StructValue(inner)) })].into(),
        };
        let metadata = nested(METADATA_NAMESPACE, nested("task", scores));
        ProcessingResponse { dynamic_metadata: Some(metadata), ..Default::default() }.encode_to_vec()
    }

    fn scores(label: Kind, confidence: Kind) -> Struct {
        let field = |name: &str, kind| (name.to_owned(), Value { kind: Some(kind) });
        Struct { fields: [field("label", label), field("confidence", confidence)].into() }
    }

    #[test]
    fn examples_are_sent_only_when_they_are_asked_for() {
        let examples = Examples::new([("billing".to_owned(), vec!["refund please".to_owned()])].into());
        let classifier = Classifier::Examples(examples.into());
        assert!(wants_examples(UNKNOWN_DIGEST, &classifier));
        assert!(!wants_examples(UNKNOWN_DIGEST, &Classifier::from("task")));
        let sent = |teach| {
            let request = request(&classifier, &TextToClassify::default(), teach);
            let ours = request.metadata_context.unwrap().filter_metadata.remove(METADATA_NAMESPACE).unwrap();
            as_struct(&ours.fields[EXAMPLES]).unwrap().clone()
        };
        let digest = string(classifier.examples().unwrap().digest());
        let brief = sent(Teach::Digest);
        assert_eq!(brief.fields, [(DIGEST.to_owned(), digest.clone())].into());
        let full = sent(Teach::Examples);
        assert_eq!(full.fields[DIGEST], digest);
        assert_eq!(as_struct(&full.fields[ROUTES]).unwrap().fields["billing"], list(["refund please"]));
    }

    #[test]
    fn an_answer_of_the_contract_is_read() {
        let message = answer_with(scores(Kind::StringValue("Chatbot".to_owned()), Kind::NumberValue(0.75)));
        let label = Label::new("Chatbot", 0.75).unwrap();
        assert_eq!(read(&message, &classifier()), Some(Classification::Label(label)));
    }

    #[test]
    fn a_score_is_read_with_its_dimensions() {
        let field = |name: &str, kind| (name.to_owned(), Value { kind: Some(kind) });
        let dimensions =
            [field("creativity", Kind::NumberValue(0.25)), field("reasoning", Kind::NumberValue(0.5))];
        let dimensions = Kind::StructValue(Struct { fields: dimensions.into() });
        let fields = [field("score", Kind::NumberValue(0.375)), field("scores", dimensions)];
        let message = answer_with(Struct { fields: fields.into() });
        let score = Score::new(0.375, [("creativity", 0.25), ("reasoning", 0.5)]).unwrap();
        assert_eq!(read(&message, &classifier()), Some(Classification::Score(score)));
    }

    #[test]
    fn what_is_not_an_answer_of_the_contract_is_none() {
        let label = || Kind::StringValue("Chatbot".to_owned());
        for message in [
            Vec::new(),
            b"\xff\xff\xff".to_vec(),
            answer_with(Struct::default()),
            answer_with(scores(Kind::NumberValue(1.0), Kind::NumberValue(0.5))),
            answer_with(scores(label(), Kind::StringValue("0.5".to_owned()))),
            answer_with(scores(label(), Kind::NumberValue(f64::NAN))),
            answer_with(scores(label(), Kind::NumberValue(7.0))),
        ] {
            assert_eq!(read(&message, &classifier()), None);
        }
        let message = answer_with(scores(label(), Kind::NumberValue(0.75)));
        assert_eq!(read(&message, &Classifier::from("complexity")), None);
    }
}

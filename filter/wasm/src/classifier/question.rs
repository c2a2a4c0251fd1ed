//! What the sidecar is asked, encoded.

use std::cell::RefCell;
use std::collections::HashMap;

use llm_router_proto::envoy::config::core::v3::Metadata;
use llm_router_proto::envoy::service::ext_proc::v3::{HttpBody, ProcessingRequest, processing_request};
use llm_router_proto::{
    CLASSIFIERS, DIGEST, EXAMPLES, Kind, ListValue, METADATA_NAMESPACE, ROUTES, Struct, Value,
};
use llm_router_routing::config::{Classifier, Examples};
use llm_router_routing::request::TextToClassify;
use prost::Message;

use crate::place::Place;

/// What of a policy's examples is sent along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Teach {
    /// Their digest: the sidecar has learnt them, or will ask.
    Digest,
    /// All of them, since it asked.
    Examples,
}

/// What a call asks.
pub(crate) struct Question<'a> {
    pub(crate) classifier: &'a Classifier,
    pub(crate) text: &'a TextToClassify,
    pub(crate) teach: Teach,
}

/// Encodes questions.
#[derive(Default)]
pub(super) struct Encoder {
    /// What all questions to a classifier begin with.
    metadata: RefCell<HashMap<Place, Vec<u8>>>,
}

impl Encoder {
    /// A `ProcessingRequest`. In Protocol Buffers, a message's fields can be encoded apart, and then joined.
    pub(super) fn encode(&self, question: &Question<'_>) -> Vec<u8> {
        let body = HttpBody { body: question.text.to_body().into(), end_of_stream: true };
        let body = Some(processing_request::Request::RequestBody(body));
        let body = ProcessingRequest { request: body, metadata_context: None };
        match question.teach {
            Teach::Digest => {
                let mut known = self.metadata.borrow_mut();
                let of_classifier = known.entry(Place::of(question.classifier));
                join(of_classifier.or_insert_with(|| metadata(question.classifier, Teach::Digest)), &body)
            }
            Teach::Examples => join(&metadata(question.classifier, Teach::Examples), &body),
        }
    }
}

fn join(start: &[u8], rest: &ProcessingRequest) -> Vec<u8> {
    let mut message = Vec::with_capacity(start.len() + rest.encoded_len());
    message.extend_from_slice(start);
    // It fails for want of room only, of which a vector makes more.
    let _ = rest.encode(&mut message);
    message
}

fn metadata(classifier: &Classifier, teach: Teach) -> Vec<u8> {
    let mut ours = Struct { fields: [(CLASSIFIERS.to_owned(), list([classifier.as_str()]))].into() };
    if let Some(known) = classifier.examples() {
        ours.fields.insert(EXAMPLES.to_owned(), examples(known, teach));
    }
    let metadata = Metadata { filter_metadata: [(METADATA_NAMESPACE.to_owned(), ours)].into() };
    ProcessingRequest { request: None, metadata_context: Some(metadata) }.encode_to_vec()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_sent_only_when_they_are_asked_for() {
        let examples = Examples::new([("billing".to_owned(), vec!["refund please".to_owned()])].into());
        let classifier = Classifier::Examples(examples.into());
        let encoder = Encoder::default();
        let sent = |teach| {
            let question = Question { classifier: &classifier, text: &TextToClassify::default(), teach };
            let request = ProcessingRequest::decode(encoder.encode(&question).as_slice()).unwrap();
            assert!(matches!(request.request, Some(processing_request::Request::RequestBody(_))));
            let ours = request.metadata_context.unwrap().filter_metadata.remove(METADATA_NAMESPACE).unwrap();
            structure(&ours.fields[EXAMPLES]).clone()
        };
        let digest = string(classifier.examples().unwrap().digest());
        let brief = sent(Teach::Digest);
        assert_eq!(brief.fields, [(DIGEST.to_owned(), digest.clone())].into());
        let full = sent(Teach::Examples);
        assert_eq!(full.fields[DIGEST], digest);
        assert_eq!(structure(&full.fields[ROUTES]).fields["billing"], list(["refund please"]));
        assert_eq!(sent(Teach::Digest), brief, "and in the next call");
    }

    #[test]
    fn classifiers_are_told_apart() {
        let encoder = Encoder::default();
        let classifiers = [Classifier::from("task"), Classifier::from("complexity")];
        for classifier in classifiers.iter().chain(&classifiers) {
            let text = &TextToClassify::default();
            let message = encoder.encode(&Question { classifier, text, teach: Teach::Digest });
            let request = ProcessingRequest::decode(message.as_slice()).unwrap();
            let ours = &request.metadata_context.unwrap().filter_metadata[METADATA_NAMESPACE];
            assert_eq!(ours.fields[CLASSIFIERS], list([classifier.as_str()]));
        }
    }

    fn structure(value: &Value) -> &Struct {
        let Some(Kind::StructValue(inner)) = &value.kind else { panic!("{value:?}") };
        inner
    }
}

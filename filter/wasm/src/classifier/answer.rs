//! What the sidecar answers.

use std::fmt;

use llm_router_proto::envoy::service::ext_proc::v3::ProcessingResponse;
use llm_router_proto::{Kind, METADATA_NAMESPACE, Struct, Value};
use llm_router_routing::classification::{Classification, Label, Score};
use llm_router_routing::config::Classifier;
use prost::Message;

use crate::host;

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

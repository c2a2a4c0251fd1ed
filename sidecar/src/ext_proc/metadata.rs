//! What Envoy is told beside its orders, as dynamic metadata, for access logs and other filters:
//! `{"llm_router": {HEAD: {...}, "decision": {...}}}`. Pure.

use llm_router_proto::{Kind, METADATA_NAMESPACE, Struct, Value};
use llm_router_routing::decision::Decision;
use llm_router_routing::rejection::Rejection;

use llm_router_classifier::model::prediction::{HeadOutput, Prediction};
use llm_router_classifier::model::tokenizer::Coverage;

/// Where the decision is; no head is called so.
const DECISION: &str = "decision";

/// What the response headers that tell of a decision begin with.
const TOLD: &str = "x-llm-router-";

/// Where it says how much of the text was read; no head is called so.
const READ: &str = "read";

/// Each head's `{"label", "confidence", "scores": {LABEL: confidence}}`, with a `score` in place of label and confidence
/// if it gives one; and `read`: `{"tokens", "of", "estimated"}`.
pub(super) fn of_answer(said: &Prediction) -> Struct {
    let Coverage { tokens, of, estimated } = said.read;
    let count = |number: usize| value(Kind::NumberValue(number as f64));
    let read = [
        ("tokens".to_owned(), count(tokens)),
        ("of".to_owned(), count(of)),
        ("estimated".to_owned(), value(Kind::BoolValue(estimated))),
    ];
    ours(heads(&said.scores).chain([(READ.to_owned(), structure(read))]))
}

/// The decision, as the response headers tell it: `model`, `reason`, and if they are known `policy`, `label`,
/// `confidence` and `score`. With the scores that it was made of, if any.
pub(super) fn of_decision(decision: &Decision, scores: &[HeadOutput]) -> Struct {
    let headers = decision.response_headers();
    let told =
        headers.filter_map(|(name, value)| Some((name.strip_prefix(TOLD)?.to_owned(), string(&value))));
    ours(heads(scores).chain([(DECISION.to_owned(), structure(told))]))
}

/// Why a request was refused, or would have been: `refused`.
pub(super) fn of_refusal(refusal: &Rejection) -> Struct {
    let told = [("refused".to_owned(), string(refusal.code()))];
    ours([(DECISION.to_owned(), structure(told))])
}

fn ours(fields: impl IntoIterator<Item = (String, Value)>) -> Struct {
    Struct { fields: [(METADATA_NAMESPACE.to_owned(), structure(fields))].into() }
}

fn heads(scores: &[HeadOutput]) -> impl Iterator<Item = (String, Value)> {
    scores.iter().filter_map(|scores| Some((scores.head.to_string(), head(scores)?)))
}

fn head(scores: &HeadOutput) -> Option<Value> {
    let all = scores.iter().map(|(label, confidence)| (label.to_owned(), number(confidence)));
    let mut fields = vec![("scores".to_owned(), structure(all))];
    match scores.score {
        Some(score) => fields.push(("score".to_owned(), number(score))),
        None => {
            let (label, confidence) = scores.top()?;
            fields.push(("label".to_owned(), string(label)));
            fields.push(("confidence".to_owned(), number(confidence)));
        }
    }
    Some(structure(fields))
}

fn structure(fields: impl IntoIterator<Item = (String, Value)>) -> Value {
    value(Kind::StructValue(Struct { fields: fields.into_iter().collect() }))
}

fn string(text: &str) -> Value {
    value(Kind::StringValue(text.to_owned()))
}

fn number(number: f32) -> Value {
    value(Kind::NumberValue(f64::from(number)))
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores() -> HeadOutput {
        let labels = ["Chatbot", "Code Generation"].map(str::to_owned);
        HeadOutput { head: "task".into(), labels: labels.into(), confidences: vec![0.25, 0.75], score: None }
    }

    fn field<'a>(structure: &'a Struct, name: &str) -> &'a Kind {
        structure.fields[name].kind.as_ref().unwrap()
    }

    fn inner<'a>(structure: &'a Struct, name: &str) -> &'a Struct {
        match field(structure, name) {
            Kind::StructValue(inner) => inner,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_score_is_there() {
        let read = Coverage { tokens: 256, of: 789, estimated: false };
        let metadata = of_answer(&Prediction { scores: vec![scores()], read, ..Prediction::default() });
        let task = inner(inner(&metadata, "llm_router"), "task");
        assert_eq!(field(task, "label"), &Kind::StringValue("Code Generation".to_owned()));
        assert_eq!(field(task, "confidence"), &Kind::NumberValue(0.75));
        let all = inner(task, "scores");
        assert_eq!(all.fields.len(), 2);
        assert_eq!(field(all, "Chatbot"), &Kind::NumberValue(0.25));
        let read = inner(inner(&metadata, "llm_router"), "read");
        assert_eq!(
            (field(read, "tokens"), field(read, "of")),
            (&Kind::NumberValue(256.0), &Kind::NumberValue(789.0))
        );
    }

    #[test]
    fn a_score_stands_in_place_of_a_label() {
        let scores = vec![HeadOutput { score: Some(0.375), ..scores() }];
        let metadata = of_answer(&Prediction { scores, ..Prediction::default() });
        let task = inner(inner(&metadata, "llm_router"), "task");
        assert_eq!(field(task, "score"), &Kind::NumberValue(0.375));
        assert_eq!(field(inner(task, "scores"), "Chatbot"), &Kind::NumberValue(0.25));
        assert_eq!(task.fields.get("label"), None);
    }

    #[test]
    fn a_refusal_is_told_by_its_code() {
        let metadata = of_refusal(&Rejection::body_too_large(1));
        let decision = inner(inner(&metadata, "llm_router"), "decision");
        assert_eq!(field(decision, "refused"), &Kind::StringValue("request_too_large".to_owned()));
    }
}

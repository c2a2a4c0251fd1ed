//! Builds the answer to Envoy or to our filter from a text's scores. Pure.

use std::collections::BTreeMap;

use llm_router_proto::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction,
};
use llm_router_proto::envoy::service::ext_proc::v3::{
    BodyResponse, CommonResponse, HeaderMutation, ProcessingResponse, processing_response::Response,
};
use llm_router_proto::{Kind, METADATA_NAMESPACE, Struct, Value};

use crate::model::scores::Scores;

/// The answer that changes nothing: the request goes on as it came.
pub(super) fn unclassified() -> ProcessingResponse {
    body_response(CommonResponse::default(), None)
}

/// The scores as request headers `x-llm-HEAD` and `x-llm-HEAD-confidence`, and as dynamic metadata.
pub(super) fn classified(scores: &[Scores]) -> ProcessingResponse {
    let set_headers = scores.iter().flat_map(headers).collect();
    let common = CommonResponse {
        header_mutation: Some(HeaderMutation { set_headers, ..HeaderMutation::default() }),
        // Envoy chose a route by the headers as the client sent them: it must look again.
        clear_route_cache: true,
        ..CommonResponse::default()
    };
    body_response(common, Some(metadata(scores)))
}

fn body_response(common: CommonResponse, dynamic_metadata: Option<Struct>) -> ProcessingResponse {
    let response = Response::RequestBody(BodyResponse { response: Some(common) });
    ProcessingResponse { response: Some(response), dynamic_metadata }
}

fn headers(scores: &Scores) -> Vec<HeaderValueOption> {
    let Some((label, confidence)) = scores.top() else { return Vec::new() };
    let head = &scores.head;
    vec![
        header(format!("x-llm-{head}"), label.to_owned()),
        header(format!("x-llm-{head}-confidence"), format!("{confidence:.4}")),
    ]
}

fn header(key: String, value: String) -> HeaderValueOption {
    HeaderValueOption {
        // Envoy refuses a header that has both `value` and `raw_value`.
        header: Some(HeaderValue { key, value: String::new(), raw_value: value.into_bytes() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    }
}

/// `{"llm_router": {HEAD: {"label", "confidence", "scores": {LABEL: confidence}}}}`
fn metadata(scores: &[Scores]) -> Struct {
    let heads = scores.iter().filter_map(|scores| {
        let (label, confidence) = scores.top()?;
        let all = scores.iter().map(|(label, confidence)| (label.to_owned(), number(confidence)));
        let head = [
            ("label".to_owned(), string(label)),
            ("confidence".to_owned(), number(confidence)),
            ("scores".to_owned(), structure(all)),
        ];
        Some((scores.head.to_string(), structure(head)))
    });
    Struct { fields: BTreeMap::from([(METADATA_NAMESPACE.to_owned(), structure(heads))]) }
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

    fn scores() -> Scores {
        let labels = ["Chatbot", "Code Generation"].map(str::to_owned);
        Scores { head: "task".into(), labels: labels.into(), confidences: vec![0.25, 0.75] }
    }

    fn common(answer: &ProcessingResponse) -> &CommonResponse {
        match &answer.response {
            Some(Response::RequestBody(body)) => body.response.as_ref().unwrap(),
            other => panic!("{other:?}"),
        }
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
    fn the_best_label_becomes_headers_that_overwrite() {
        let answer = classified(&[scores()]);
        let common = common(&answer);
        assert!(common.clear_route_cache);
        let headers: Vec<_> = common
            .header_mutation
            .iter()
            .flat_map(|mutation| &mutation.set_headers)
            .map(|option| {
                assert_eq!(option.append_action(), HeaderAppendAction::OverwriteIfExistsOrAdd);
                let header = option.header.as_ref().unwrap();
                assert!(header.value.is_empty());
                (header.key.as_str(), header.raw_value.as_slice())
            })
            .collect();
        assert_eq!(
            headers,
            [("x-llm-task", b"Code Generation".as_slice()), ("x-llm-task-confidence", b"0.7500")]
        );
    }

    #[test]
    fn every_score_is_in_the_metadata() {
        let answer = classified(&[scores()]);
        let task = inner(inner(answer.dynamic_metadata.as_ref().unwrap(), "llm_router"), "task");
        assert_eq!(field(task, "label"), &Kind::StringValue("Code Generation".to_owned()));
        assert_eq!(field(task, "confidence"), &Kind::NumberValue(0.75));
        let all = inner(task, "scores");
        assert_eq!(all.fields.len(), 2);
        assert_eq!(field(all, "Chatbot"), &Kind::NumberValue(0.25));
    }

    #[test]
    fn an_unclassified_request_goes_on_unchanged() {
        let answer = unclassified();
        assert_eq!(common(&answer), &CommonResponse::default());
        assert_eq!(answer.dynamic_metadata, None);
    }
}

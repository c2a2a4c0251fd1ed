//! The answers to Envoy and to our filter, as messages. Pure.

use std::collections::BTreeMap;

use llm_router_proto::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction,
};
use llm_router_proto::envoy::service::ext_proc::v3::{
    BodyMutation, BodyResponse, CommonResponse, HeaderMutation, HeadersResponse, HttpStatus,
    ImmediateResponse, ProcessingResponse, body_mutation::Mutation, processing_response::Response,
};
use llm_router_proto::{Kind, METADATA_NAMESPACE, Struct, Value};
use llm_router_routing::refusal::Refusal;

use crate::model::scores::Scores;

/// An answer and nothing else.
pub(super) fn of(response: Response) -> ProcessingResponse {
    ProcessingResponse { response: Some(response), dynamic_metadata: None }
}

/// The answer to a body that changes nothing: the request goes on as it came.
pub(super) fn unchanged() -> ProcessingResponse {
    request_body(CommonResponse::default(), None)
}

/// The scores as request headers `x-llm-HEAD` and `x-llm-HEAD-confidence`, and as dynamic metadata.
pub(super) fn classified(scores: &[Scores]) -> ProcessingResponse {
    let common = CommonResponse {
        header_mutation: Some(set(scores.iter().flat_map(headers))),
        // Envoy chose a route by the headers as the client sent them: it must look again.
        clear_route_cache: true,
        ..CommonResponse::default()
    };
    request_body(common, Some(metadata(scores)))
}

/// The answer to a body that replaces it, with these headers and those of [`classified`]. A `content-length` among them
/// must fit the body, or Envoy answers 500.
pub(super) fn routed(routing: Vec<(String, String)>, body: Vec<u8>, scores: &[Scores]) -> ProcessingResponse {
    let routing = routing.into_iter().map(|(key, value)| header(key, value));
    let common = CommonResponse {
        header_mutation: Some(set(routing.chain(scores.iter().flat_map(headers)))),
        body_mutation: Some(BodyMutation { mutation: Some(Mutation::Body(body)) }),
        clear_route_cache: true,
        ..CommonResponse::default()
    };
    request_body(common, (!scores.is_empty()).then(|| metadata(scores)))
}

/// The answer to request headers that removes some.
pub(super) fn without_headers(names: Vec<String>) -> ProcessingResponse {
    let mutation = HeaderMutation { remove_headers: names, ..HeaderMutation::default() };
    of(Response::RequestHeaders(with_headers(mutation)))
}

/// The answer to response headers that sets some.
pub(super) fn explained(set_headers: Vec<(&str, String)>) -> ProcessingResponse {
    let headers = set_headers.into_iter().map(|(key, value)| header(key.to_owned(), value));
    of(Response::ResponseHeaders(with_headers(set(headers))))
}

/// Has Envoy answer the client in place of an LLM.
pub(super) fn refused(refusal: &Refusal) -> ProcessingResponse {
    let headers = refusal.headers().into_iter().map(|(key, value)| header(key.to_owned(), value.to_owned()));
    of(Response::ImmediateResponse(ImmediateResponse {
        status: Some(HttpStatus { code: refusal.status().into() }),
        headers: Some(set(headers)),
        body: refusal.body(),
        // For access logs, as RESPONSE_CODE_DETAILS.
        details: refusal.code().to_owned(),
    }))
}

/// Has Envoy answer the client with this JSON.
pub(super) fn json(status: u32, body: Vec<u8>) -> ProcessingResponse {
    let content_type = header("content-type".to_owned(), "application/json".to_owned());
    of(Response::ImmediateResponse(ImmediateResponse {
        status: Some(HttpStatus { code: status }),
        headers: Some(set([content_type])),
        body,
        details: String::new(),
    }))
}

fn request_body(common: CommonResponse, dynamic_metadata: Option<Struct>) -> ProcessingResponse {
    let response = Response::RequestBody(BodyResponse { response: Some(common) });
    ProcessingResponse { response: Some(response), dynamic_metadata }
}

fn with_headers(mutation: HeaderMutation) -> HeadersResponse {
    if mutation == HeaderMutation::default() {
        return HeadersResponse::default();
    }
    let common = CommonResponse { header_mutation: Some(mutation), ..CommonResponse::default() };
    HeadersResponse { response: Some(common) }
}

fn set(headers: impl IntoIterator<Item = HeaderValueOption>) -> HeaderMutation {
    HeaderMutation { set_headers: headers.into_iter().collect(), ..HeaderMutation::default() }
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
        let answer = unchanged();
        assert_eq!(common(&answer), &CommonResponse::default());
        assert_eq!(answer.dynamic_metadata, None);
    }
}

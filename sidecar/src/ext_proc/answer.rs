//! The answers to Envoy and to our filter, as messages. Pure.

use std::borrow::Cow;

use llm_router_proto::Struct;
use llm_router_proto::contract::Version;
use llm_router_proto::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction,
};
use llm_router_proto::envoy::service::ext_proc::v3::{
    BodyMutation, BodyResponse, CommonResponse, HeaderMutation, HeadersResponse, HttpStatus,
    ImmediateResponse, ProcessingMode, ProcessingResponse,
    body_mutation::Mutation,
    processing_mode::{BodySendMode, HeaderSendMode},
    processing_response::Response,
};
use llm_router_routing::exchange::{Forward, LocalResponse};

use super::metadata;
use llm_router_classifier::model::prediction::{HeadOutput, Prediction};

/// An answer and nothing else.
pub(super) fn of(response: Response) -> ProcessingResponse {
    ProcessingResponse { response: Some(response), ..ProcessingResponse::default() }
}

/// The answer to a body that changes nothing: the request goes on as it came.
pub(super) fn unchanged() -> ProcessingResponse {
    request_body(CommonResponse::default(), None)
}

/// The scores as request headers and as dynamic metadata. The headers are `x-llm-HEAD` and `x-llm-HEAD-confidence`; of
/// a head that scores `x-llm-HEAD` alone, as a whole number of 0 to 100, which Envoy's routes can match by range.
pub(super) fn classified(said: &Prediction, version: Version) -> ProcessingResponse {
    let common = CommonResponse {
        header_mutation: Some(set(said.scores.iter().flat_map(headers))),
        // Envoy chose a route by the headers as the client sent them: it must look again.
        clear_route_cache: true,
        ..CommonResponse::default()
    };
    request_body(common, Some(metadata::of_prediction(said, version)))
}

/// The answer to this body that goes to the chosen model: changed, and with the headers of [`classified`]. A `content-length`
/// among the changes must fit the body, or Envoy answers 500.
pub(super) fn forwarded(forward: Forward, body: &[u8], scores: &[HeadOutput]) -> ProcessingResponse {
    let body = forward.body.apply(body);
    let routing = forward.headers.into_iter().map(|(key, value)| header(key, value));
    let common = CommonResponse {
        header_mutation: Some(set(routing.chain(scores.iter().flat_map(headers)))),
        body_mutation: Some(BodyMutation { mutation: Some(Mutation::Body(body)) }),
        clear_route_cache: true,
        ..CommonResponse::default()
    };
    request_body(common, None)
}

/// The answer to request headers that removes some.
pub(super) fn without_headers(names: Vec<String>) -> ProcessingResponse {
    if names.is_empty() {
        return of(Response::RequestHeaders(HeadersResponse::default()));
    }
    let mutation = HeaderMutation { remove_headers: names, ..HeaderMutation::default() };
    // Envoy may have chosen a route by one of them.
    let common = CommonResponse {
        header_mutation: Some(mutation),
        clear_route_cache: true,
        ..CommonResponse::default()
    };
    of(Response::RequestHeaders(HeadersResponse { response: Some(common) }))
}

/// The answer to the headers of a request that is of no interest: Envoy sends nothing more of it, neither body nor response, and
/// holds neither back. So bodies of any size pass, and protocols that a request is upgraded to.
pub(super) fn without_interest(names: Vec<String>) -> ProcessingResponse {
    in_mode(HeaderSendMode::Skip, BodySendMode::None, BodySendMode::None, names)
}

/// The answer to the headers of a request whose response must be read, whatever Envoy's configuration says.
pub(super) fn with_response(names: Vec<String>) -> ProcessingResponse {
    in_mode(HeaderSendMode::Send, BodySendMode::Buffered, BodySendMode::Streamed, names)
}

/// The answer to response headers that sets some.
pub(super) fn explained<'a>(
    set_headers: impl IntoIterator<Item = (&'static str, Cow<'a, str>)>,
) -> ProcessingResponse {
    let headers = set_headers.into_iter().map(|(key, value)| header(key.to_owned(), value.into_owned()));
    of(Response::ResponseHeaders(with_headers(set(headers))))
}

/// Has Envoy respond to the client in place of an LLM.
pub(super) fn responded(response: LocalResponse) -> ProcessingResponse {
    let headers = response.headers.into_iter().map(|(key, value)| header(key.to_owned(), value.to_owned()));
    of(Response::ImmediateResponse(ImmediateResponse {
        status: Some(HttpStatus { code: response.status.into() }),
        headers: Some(set(headers)),
        body: response.body,
        // For access logs, as RESPONSE_CODE_DETAILS.
        details: response.details.unwrap_or_default().to_owned(),
    }))
}

/// The answer to request headers that says what of the request and of its response Envoy sends from now on.
fn in_mode(
    response_headers: HeaderSendMode,
    request_body: BodySendMode,
    response_body: BodySendMode,
    names: Vec<String>,
) -> ProcessingResponse {
    let mode = ProcessingMode {
        response_header_mode: response_headers.into(),
        request_body_mode: request_body.into(),
        response_body_mode: response_body.into(),
        request_trailer_mode: HeaderSendMode::Skip.into(),
        response_trailer_mode: HeaderSendMode::Skip.into(),
        ..ProcessingMode::default()
    };
    ProcessingResponse { mode_override: Some(mode), ..without_headers(names) }
}

fn request_body(common: CommonResponse, dynamic_metadata: Option<Struct>) -> ProcessingResponse {
    let response = Response::RequestBody(BodyResponse { response: Some(common) });
    ProcessingResponse { response: Some(response), dynamic_metadata, ..ProcessingResponse::default() }
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

fn headers(scores: &HeadOutput) -> Vec<HeaderValueOption> {
    let head = &scores.head;
    if let Some(score) = scores.score {
        return vec![header(format!("x-llm-{head}"), format!("{:.0}", score * 100.0))];
    }
    let Some((label, confidence)) = scores.top() else { return Vec::new() };
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

#[cfg(test)]
mod tests {
    use llm_router_proto::contract::CONTRACT_VERSION;

    use super::*;

    fn scores() -> HeadOutput {
        let labels = ["Chatbot", "Code Generation"].map(str::to_owned);
        HeadOutput { head: "task".into(), labels: labels.into(), confidences: vec![0.25, 0.75], score: None }
    }

    fn common(answer: &ProcessingResponse) -> &CommonResponse {
        match &answer.response {
            Some(Response::RequestBody(body)) => body.response.as_ref().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn headers_of(answer: &ProcessingResponse) -> Vec<(&str, &str)> {
        let mutation = common(answer).header_mutation.as_ref().unwrap();
        let headers = mutation.set_headers.iter().map(|option| {
            assert_eq!(option.append_action(), HeaderAppendAction::OverwriteIfExistsOrAdd);
            let header = option.header.as_ref().unwrap();
            assert!(header.value.is_empty());
            (header.key.as_str(), std::str::from_utf8(&header.raw_value).unwrap())
        });
        headers.collect()
    }

    #[test]
    fn the_best_label_becomes_headers_that_overwrite() {
        let prediction = Prediction { scores: vec![scores()], ..Prediction::default() };
        let answer = classified(&prediction, CONTRACT_VERSION);
        assert!(common(&answer).clear_route_cache);
        let expected = [("x-llm-task", "Code Generation"), ("x-llm-task-confidence", "0.7500")];
        assert_eq!(headers_of(&answer), expected);
    }

    #[test]
    fn a_score_becomes_a_whole_number() {
        let scores = vec![HeadOutput { score: Some(0.375), ..scores() }];
        let answer = classified(&Prediction { scores, ..Prediction::default() }, CONTRACT_VERSION);
        assert_eq!(headers_of(&answer), [("x-llm-task", "38")]);
    }

    #[test]
    fn an_unclassified_request_goes_on_unchanged() {
        let answer = unchanged();
        assert_eq!(common(&answer), &CommonResponse::default());
        assert_eq!(answer.dynamic_metadata, None);
    }
}

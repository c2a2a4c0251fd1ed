//! The response messages to Envoy and to our filter. Pure.

use std::borrow::Cow;

use llm_router_classifier::model::prediction::HeadOutput;
use llm_router_proto::Bytes;
use llm_router_proto::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction,
};
use llm_router_proto::envoy::service::ext_proc::v3::{
    BodyMutation, BodyResponse, CommonResponse, HeaderMutation, HeadersResponse, HttpStatus,
    ImmediateResponse, ProcessingMode, ProcessingResponse, StreamedBodyResponse, TrailersResponse,
    body_mutation::Mutation,
    processing_mode::{BodySendMode, HeaderSendMode},
    processing_response::Response,
};
use llm_router_routing::exchange::LocalResponse;

/// The maximum length of a body chunk in `FULL_DUPLEX_STREAMED` mode: Envoy's API recommends it.
pub(super) const MAX_PIECE: usize = 64 << 10;

/// A response without further settings.
pub(super) fn of(response: Response) -> ProcessingResponse {
    ProcessingResponse { response: Some(response), ..ProcessingResponse::default() }
}

/// The response to a body, or to a chunk of it, that is forwarded unchanged.
pub(super) fn unchanged() -> ProcessingResponse {
    request_body(CommonResponse::default())
}

/// The response to a body that changes headers and, if there is a new one, the body. A `content-length` among the headers
/// must fit the body, or Envoy responds with 500.
pub(super) fn changed(set_headers: Vec<HeaderValueOption>, body: Option<Bytes>) -> ProcessingResponse {
    let body = body.map(|body| BodyMutation { mutation: Some(Mutation::Body(body.into())) });
    request_body(CommonResponse { body_mutation: body, ..routed(set_headers, Vec::new()) })
}

/// The response to request headers that removes some.
pub(super) fn without_headers(names: Vec<String>) -> ProcessingResponse {
    if names.is_empty() {
        return of(Response::RequestHeaders(HeadersResponse::default()));
    }
    // Envoy may have chosen a route by one of them.
    rerouted(Vec::new(), names)
}

/// The response to request headers that removes some, sets others and makes Envoy choose the route again.
pub(super) fn rerouted(set_headers: Vec<HeaderValueOption>, remove: Vec<String>) -> ProcessingResponse {
    let response = Some(routed(set_headers, remove));
    of(Response::RequestHeaders(HeadersResponse { response }))
}

fn routed(set_headers: Vec<HeaderValueOption>, remove_headers: Vec<String>) -> CommonResponse {
    CommonResponse {
        header_mutation: Some(HeaderMutation { set_headers, remove_headers }),
        // Envoy chose a route by the client's headers, so it must choose again.
        clear_route_cache: true,
        ..CommonResponse::default()
    }
}

/// Makes Envoy send these bodies and, unless the mode is the default, the response headers from now on; no trailers.
pub(super) fn in_mode(
    answer: ProcessingResponse,
    response_headers: HeaderSendMode,
    request_body: BodySendMode,
    response_body: BodySendMode,
) -> ProcessingResponse {
    let mode = ProcessingMode {
        response_header_mode: response_headers.into(),
        request_body_mode: request_body.into(),
        response_body_mode: response_body.into(),
        request_trailer_mode: HeaderSendMode::Skip.into(),
        response_trailer_mode: HeaderSendMode::Skip.into(),
        ..ProcessingMode::default()
    };
    ProcessingResponse { mode_override: Some(mode), ..answer }
}

/// Splits a body into the responses to this number of chunks, in order.
pub(super) fn in_chunks(body: &[u8], chunks: usize) -> impl Iterator<Item = ProcessingResponse> {
    let longest = body.len().div_ceil(chunks.max(1)).max(MAX_PIECE);
    let mut pieces = body.chunks(longest);
    (0..chunks).map(move |_| {
        let piece = pieces.next().map(|piece| Mutation::Body(piece.to_vec()));
        let mutation = Some(piece.unwrap_or(Mutation::ClearBody(true)));
        request_body(CommonResponse {
            body_mutation: Some(BodyMutation { mutation }),
            ..CommonResponse::default()
        })
    })
}

/// A part of a request's body in `FULL_DUPLEX_STREAMED` mode.
pub(super) fn request_stream(body: Bytes, is_end: bool) -> impl Iterator<Item = ProcessingResponse> {
    stream(body, is_end).map(request_body)
}

/// A part of a response's body in `FULL_DUPLEX_STREAMED` mode.
pub(super) fn response_stream(body: Bytes, is_end: bool) -> impl Iterator<Item = ProcessingResponse> {
    stream(body, is_end).map(|common| of(Response::ResponseBody(BodyResponse { response: Some(common) })))
}

fn stream(body: Bytes, is_end: bool) -> impl Iterator<Item = CommonResponse> {
    let mut rest = Some(body);
    std::iter::from_fn(move || {
        let mut piece = rest.take()?;
        if piece.len() > MAX_PIECE {
            rest = Some(piece.split_off(MAX_PIECE));
        }
        let end_of_stream = is_end && rest.is_none();
        let streamed = StreamedBodyResponse { body: piece, end_of_stream };
        let mutation = Some(Mutation::StreamedResponse(streamed));
        Some(CommonResponse { body_mutation: Some(BodyMutation { mutation }), ..CommonResponse::default() })
    })
}

/// The response to request trailers, which remain unchanged.
pub(super) fn request_trailers() -> ProcessingResponse {
    of(Response::RequestTrailers(TrailersResponse::default()))
}

/// The response to response trailers, which remain unchanged.
pub(super) fn response_trailers() -> ProcessingResponse {
    of(Response::ResponseTrailers(TrailersResponse::default()))
}

/// The response to response headers that sets some.
pub(super) fn explained<'a>(
    set_headers: impl IntoIterator<Item = (&'static str, Cow<'a, str>)>,
) -> ProcessingResponse {
    let headers = set_headers.into_iter().map(|(key, value)| header(key.to_owned(), value.into_owned()));
    of(Response::ResponseHeaders(with_headers(set(headers))))
}

/// Makes Envoy respond to the client instead of routing the request.
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

fn request_body(common: CommonResponse) -> ProcessingResponse {
    of(Response::RequestBody(BodyResponse { response: Some(common) }))
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

/// The scores as request headers: `x-llm-HEAD` and `x-llm-HEAD-confidence`. A head with a score has only
/// `x-llm-HEAD`, an integer from 0 to 100, so that Envoy's routes can match ranges.
pub(super) fn score_headers(scores: &[HeadOutput]) -> impl Iterator<Item = HeaderValueOption> {
    scores.iter().flat_map(headers)
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

/// A header that replaces all others with its name.
pub(super) fn header(key: String, value: String) -> HeaderValueOption {
    HeaderValueOption {
        // Envoy rejects a header that has both `value` and `raw_value`.
        header: Some(HeaderValue { key, value: String::new(), raw_value: value.into_bytes() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores() -> HeadOutput {
        let labels = ["Chatbot", "Code Generation"].map(str::to_owned);
        HeadOutput { head: "task".into(), labels: labels.into(), confidences: vec![0.25, 0.75], score: None }
    }

    fn common(answer: &ProcessingResponse) -> &CommonResponse {
        match &answer.response {
            Some(
                Response::RequestBody(BodyResponse { response })
                | Response::ResponseBody(BodyResponse { response }),
            ) => response.as_ref().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn names_and_values(headers: impl Iterator<Item = HeaderValueOption>) -> Vec<(String, String)> {
        let pair = |option: HeaderValueOption| {
            assert_eq!(option.append_action(), HeaderAppendAction::OverwriteIfExistsOrAdd);
            let header = option.header.unwrap();
            assert!(header.value.is_empty());
            (header.key, String::from_utf8(header.raw_value).unwrap())
        };
        headers.map(pair).collect()
    }

    #[test]
    fn the_best_label_becomes_headers_that_overwrite() {
        let expected = [("x-llm-task", "Code Generation"), ("x-llm-task-confidence", "0.7500")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(names_and_values(score_headers(&[scores()])), expected);
    }

    #[test]
    fn a_score_becomes_a_whole_number() {
        let scores = [HeadOutput { score: Some(0.375), ..scores() }];
        assert_eq!(names_and_values(score_headers(&scores)), [("x-llm-task".to_owned(), "38".to_owned())]);
    }

    #[test]
    fn new_headers_choose_a_new_route() {
        assert!(common(&changed(Vec::new(), None)).clear_route_cache);
        assert_eq!(common(&changed(Vec::new(), None)).body_mutation, None);
    }

    #[test]
    fn an_unchanged_request_has_an_empty_answer() {
        assert_eq!(common(&unchanged()), &CommonResponse::default());
    }

    fn piece(answer: &ProcessingResponse) -> &Mutation {
        common(answer).body_mutation.as_ref().unwrap().mutation.as_ref().unwrap()
    }

    #[test]
    fn a_streamed_body_comes_in_bounded_pieces_and_the_last_ends_it() {
        for length in [0, 1, MAX_PIECE - 1, MAX_PIECE, MAX_PIECE + 1, 3 * MAX_PIECE + 7] {
            for is_end in [false, true] {
                let body: Bytes = (0..length).map(|at| at.to_le_bytes()[1]).collect();
                let pieces: Vec<_> = response_stream(body.clone(), is_end).collect();
                let pieces = pieces.iter().map(piece).map(|piece| match piece {
                    Mutation::StreamedResponse(streamed) => streamed.clone(),
                    other => panic!("{other:?}"),
                });
                let pieces: Vec<_> = pieces.collect();
                assert_eq!(pieces.iter().flat_map(|piece| piece.body.clone()).collect::<Bytes>(), body);
                assert!(pieces.iter().all(|piece| piece.body.len() <= MAX_PIECE));
                let ends: Vec<_> = pieces.iter().map(|piece| piece.end_of_stream).collect();
                let (last, others) = ends.split_last().unwrap();
                assert!(*last == is_end && others.iter().all(|end| !end), "{length}: {ends:?}");
            }
        }
    }

    #[test]
    fn a_body_is_spread_over_as_many_answers_as_chunks_came() {
        for (length, chunks) in [(10, 1), (10, 3), (MAX_PIECE + 1, 2), (5 * MAX_PIECE, 2), (0, 2)] {
            let body = vec![b'x'; length];
            let answers: Vec<_> = in_chunks(&body, chunks).collect();
            assert_eq!(answers.len(), chunks);
            let lengths = answers.iter().map(|answer| match piece(answer) {
                Mutation::Body(body) => body.len(),
                Mutation::ClearBody(true) => 0,
                other => panic!("{other:?}"),
            });
            assert_eq!(lengths.sum::<usize>(), length, "{chunks}");
        }
    }
}

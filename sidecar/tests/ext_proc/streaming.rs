//! Bodies that are streamed through the sidecar: held, decided and forwarded, within limits.

use std::future::ready;
use std::time::Duration;

use futures_channel::mpsc::UnboundedSender;
use futures_util::{StreamExt, stream};
use llm_router_proto::envoy::service::ext_proc::v3::{
    BodyResponse, CommonResponse, HeadersResponse, HttpBody, HttpTrailers, ImmediateResponse,
    ProcessingRequest, ProcessingResponse, ProtocolConfiguration, body_mutation::Mutation,
    processing_mode::BodySendMode, processing_request::Request, processing_response::Response,
};
use llm_router_sidecar::ext_proc::{AssumedBodyMode, PolicyRouter, Service};
use serde_json::{Value, json};
use tonic::{Status, Streaming};

use super::failing::Failing;
use super::routing::policy;
use super::{
    BODY_MEMORY, CHAT, PROMPT, Running, Sure, begun, exchange, gated, headers, message, metric, next,
    rejection, request_headers, serve, serve_with, service,
};

const DUPLEX: ProtocolConfiguration = in_mode(BodySendMode::FullDuplexStreamed, false);
const STREAMED: ProtocolConfiguration = in_mode(BodySendMode::Streamed, true);
const UPLOAD: &str = "/v1/audio/transcriptions";

const fn in_mode(request: BodySendMode, early: bool) -> ProtocolConfiguration {
    ProtocolConfiguration {
        request_body_mode: request as i32,
        response_body_mode: BodySendMode::None as i32,
        send_body_without_waiting_for_header_response: early,
    }
}

fn begin(path: &str, config: ProtocolConfiguration) -> ProcessingRequest {
    ProcessingRequest { protocol_config: Some(config), ..headers(path) }
}

fn chunk(chunk: &[u8], end_of_stream: bool) -> ProcessingRequest {
    message(Request::RequestBody(HttpBody { body: chunk.to_vec().into(), end_of_stream }))
}

fn chunks(body: &str, length: usize) -> Vec<ProcessingRequest> {
    let body = body.as_bytes();
    let end = body.len().div_ceil(length);
    body.chunks(length).zip(1..).map(|(piece, at)| chunk(piece, at == end)).collect()
}

/// The cluster that the headers choose, and the forwarded body.
fn sent_on(answers: &[ProcessingResponse]) -> (Option<String>, Vec<u8>, bool) {
    let (mut cluster, mut body, mut has_ended) = (None, Vec::new(), false);
    for answer in answers {
        match answer.response.clone().unwrap() {
            Response::RequestHeaders(headers) => {
                let mutation = headers.response.and_then(|common| common.header_mutation);
                let set = mutation.into_iter().flat_map(|mutation| mutation.set_headers);
                let header = set.filter_map(|option| option.header).find(|it| it.key == "x-llm-cluster");
                cluster = header.map(|header| String::from_utf8(header.raw_value).unwrap());
            }
            Response::RequestBody(BodyResponse { response }) => {
                match response.unwrap().body_mutation.and_then(|it| it.mutation) {
                    Some(Mutation::StreamedResponse(piece)) => {
                        body.extend_from_slice(&piece.body);
                        has_ended = piece.end_of_stream;
                    }
                    other => panic!("{other:?}"),
                }
            }
            Response::RequestTrailers(_) => has_ended = true,
            other => panic!("{other:?}"),
        }
    }
    (cluster, body, has_ended)
}

async fn start() -> Running {
    serve_with(Some(policy(|_| ())), Sure, 8).await
}

#[tokio::test]
async fn a_prompt_in_chunks_is_routed_and_streamed_on() {
    let running = start().await;
    for length in [1, 7, 1000] {
        let messages = [vec![begin(CHAT, DUPLEX)], chunks(PROMPT, length)].concat();
        let answers = exchange(running.client.clone(), messages).await.unwrap();
        let (cluster, body, has_ended) = sent_on(&answers);
        assert_eq!((cluster.as_deref(), has_ended), (Some("coder"), true));
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["model"], "vendor/coder");
    }
    metric(&running.metrics, "body_bytes 0").await;
}

#[tokio::test]
async fn trailers_end_a_body() {
    let running = start().await;
    let trailers = message(Request::RequestTrailers(HttpTrailers::default()));
    let messages = vec![begin(CHAT, DUPLEX), chunk(PROMPT.as_bytes(), false), trailers];
    let answers = exchange(running.client, messages).await.unwrap();
    assert!(matches!(answers.last().unwrap().response, Some(Response::RequestTrailers(_))));
    assert_eq!(sent_on(&answers).0.as_deref(), Some("coder"));
}

/// A stream that stays open.
async fn open(
    running: &Running,
    first: ProcessingRequest,
) -> (UnboundedSender<ProcessingRequest>, Streaming<ProcessingResponse>) {
    let (messages, stream) = futures_channel::mpsc::unbounded();
    messages.unbounded_send(first).unwrap();
    let answers = running.client.clone().process(stream).await.unwrap().into_inner();
    (messages, answers)
}

#[tokio::test]
async fn an_upload_comes_back_chunk_by_chunk_and_takes_no_memory() {
    let running = start().await;
    let (messages, mut answers) = open(&running, begin(UPLOAD, DUPLEX)).await;
    assert!(matches!(next(&mut answers).await, Ok(Some(_))));
    let piece = vec![b'x'; 60 << 10];
    // More than all bodies may take, and no length announced.
    for _ in 0..2 * BODY_MEMORY / piece.len() {
        messages.unbounded_send(chunk(&piece, false)).unwrap();
        let answer = next(&mut answers).await.unwrap().unwrap();
        assert_eq!(sent_on(&[answer]).1, piece);
    }
    metric(&running.metrics, "body_bytes 0").await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_rejected_before_it_has_ended() {
    let running = serve_with(Some(policy(|it| it["limits"] = json!({ "max_body": "1KiB" }))), Sure, 8).await;
    for config in [DUPLEX, STREAMED] {
        let (messages, mut answers) = open(&running, begin(CHAT, config)).await;
        for _ in 0..3 {
            messages.unbounded_send(chunk(&[b'x'; 500], false)).unwrap();
        }
        let answer = next(&mut answers).await.unwrap().unwrap();
        let Some(Response::ImmediateResponse(ImmediateResponse { status, .. })) = answer.response else {
            panic!("{answer:?}")
        };
        assert_eq!(status.unwrap().code, 413);
        metric(&running.metrics, "body_bytes 0").await;
    }
}

/// Each chunk needs a response, which takes memory even if the chunk is empty.
#[tokio::test]
async fn a_body_of_too_many_chunks_is_rejected_before_it_has_ended() {
    let running = start().await;
    let (messages, mut answers) = open(&running, begin(CHAT, STREAMED)).await;
    for _ in 0..70_000 {
        messages.unbounded_send(chunk(b"", false)).unwrap();
    }
    let answer = next(&mut answers).await.unwrap().unwrap();
    assert_eq!(rejection(&answer), (413, json!("request_too_large")));
    metric(&running.metrics, "body_bytes 0").await;
}

/// A body that comes byte by byte, without end.
async fn trickle(running: &Running, config: ProtocolConfiguration) -> Streaming<ProcessingResponse> {
    // Too slow to reach any size limit.
    let bytes = stream::unfold((), async |()| {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Some((chunk(b"x", false), ()))
    });
    let messages = stream::once(ready(begin(CHAT, config))).chain(bytes);
    running.client.clone().process(messages).await.unwrap().into_inner()
}

fn impatient(running: &Running, router: Option<PolicyRouter>) {
    let service = service(router, Sure, 8, running.metrics.clone());
    running.service.replace(Service { body_timeout: Duration::from_millis(20), ..service });
}

#[tokio::test]
async fn a_body_that_takes_too_long_is_rejected_even_if_it_arrives_steadily() {
    let running = start().await;
    impatient(&running, Some(policy(|_| ())));
    for config in [DUPLEX, STREAMED] {
        let mut answers = trickle(&running, config).await;
        let answer = next(&mut answers).await.unwrap().unwrap();
        assert_eq!(rejection(&answer), (408, json!("request_timeout")));
        drop(answers);
        metric(&running.metrics, "body_bytes 0").await;
    }
    metric(&running.metrics, r#"rejected_total{code="request_timeout"} 2"#).await;
}

#[tokio::test]
async fn a_silent_client_holds_memory_only_until_the_body_timeout() {
    let running = start().await;
    impatient(&running, Some(policy(|_| ())));
    let (messages, mut answers) = open(&running, begin(CHAT, DUPLEX)).await;
    messages.unbounded_send(chunk(&[b'x'; 100_000], false)).unwrap();
    let answer = next(&mut answers).await.unwrap().unwrap();
    assert!(matches!(answer.response, Some(Response::ImmediateResponse(_))), "{answer:?}");
    // Although the stream stays open.
    metric(&running.metrics, "body_bytes 0").await;
}

/// Neither in shadow mode nor without a policy is anything rejected.
#[tokio::test]
async fn a_body_that_takes_too_long_may_be_forwarded_as_it_arrives() {
    let running = start().await;
    for router in [Some(policy(|policy| policy["mode"] = "shadow".into())), None] {
        impatient(&running, router);
        let mut answers = trickle(&running, DUPLEX).await;
        // More than the sidecar can have collected.
        for _ in 0..200 {
            let answer = next(&mut answers).await.unwrap().unwrap();
            assert!(sent_on(&[answer]).1.iter().all(|byte| *byte == b'x'));
        }
        drop(answers);
        metric(&running.metrics, "body_bytes 0").await;
    }
}

#[tokio::test]
async fn clients_that_disconnect_release_their_memory() {
    let running = start().await;
    let mut leaving = Vec::new();
    for _ in 0..10 {
        let (messages, answers) = open_silently(&running, begin(CHAT, DUPLEX));
        messages.unbounded_send(chunk(&[b'x'; 100_000], false)).unwrap();
        leaving.push((messages, answers));
    }
    metric(&running.metrics, "body_bytes 1000000").await;
    for (_messages, answers) in leaving {
        answers.abort();
    }
    metric(&running.metrics, "body_bytes 0").await;
}

/// A stream that has no response yet.
fn open_silently(
    running: &Running,
    first: ProcessingRequest,
) -> (UnboundedSender<ProcessingRequest>, tokio::task::JoinHandle<Result<(), Status>>) {
    let (messages, stream) = futures_channel::mpsc::unbounded();
    messages.unbounded_send(first).unwrap();
    let mut client = running.client.clone();
    let answers = tokio::spawn(async move {
        let mut answers = client.process(stream).await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok(())
    });
    (messages, answers)
}

/// In this mode, chunks of one byte cost as much memory as the body, not as the messages.
#[tokio::test]
async fn held_bodies_stay_within_the_memory_limit() {
    let running = start().await;
    let (messages, _answers) = open_silently(&running, begin(CHAT, DUPLEX));
    for _ in 0..1000 {
        messages.unbounded_send(chunk(b"x", false)).unwrap();
    }
    metric(&running.metrics, "body_bytes 1000\n").await;
    drop(messages);

    let roomy = policy(|policy| policy["limits"]["max_body"] = "256MiB".into());
    running.service.replace(service(Some(roomy), Sure, 8, running.metrics.clone()));
    let (messages, answers) = open_silently(&running, begin(CHAT, DUPLEX));
    for _ in 0..=BODY_MEMORY >> 20 {
        messages.unbounded_send(chunk(&vec![b'x'; 1 << 20], false)).unwrap();
    }
    // With a response, not an error: Envoy no longer has the body, so it could not continue with the request.
    assert!(answers.await.unwrap().is_ok());
    metric(&running.metrics, r#"requests_total{outcome="overloaded"} 1"#).await;
    metric(&running.metrics, "body_bytes 0").await;
}

#[tokio::test]
async fn a_client_that_resets_its_stream_during_classification_releases_its_memory() {
    let (backend, has_begun, gate) = gated();
    let running = serve_with(Some(policy(|_| ())), backend, 8).await;
    let (messages, answers) = open_silently(&running, begin(CHAT, DUPLEX));
    messages.unbounded_send(chunk(PROMPT.as_bytes(), true)).unwrap();
    let _has_begun = begun(has_begun).await;
    answers.abort();
    metric(&running.metrics, "body_bytes 0").await;
    gate.send(()).unwrap();
}

#[tokio::test]
async fn a_proxy_that_does_not_announce_its_mode_has_the_configured_one() {
    let running = start().await;
    let mut duplex = service(Some(policy(|_| ())), Sure, 8, running.metrics.clone());
    duplex.assumed_body_mode = AssumedBodyMode::FullDuplexStreamed;
    running.service.replace(duplex);
    let messages = [vec![headers(CHAT)], chunks(PROMPT, 20)].concat();
    let answers = exchange(running.client.clone(), messages).await.unwrap();
    assert_eq!(sent_on(&answers).0.as_deref(), Some("coder"));
    // An announced mode takes precedence.
    let buffered = in_mode(BodySendMode::Buffered, false);
    let answers = exchange(running.client, vec![begin(CHAT, buffered), chunk(PROMPT.as_bytes(), true)]).await;
    assert!(matches!(answers.unwrap()[0].response, Some(Response::RequestHeaders(_))));
}

#[tokio::test]
async fn chunks_instead_of_the_requested_whole_body_pass_and_are_counted() {
    let running = start().await;
    let messages = [vec![begin(CHAT, in_mode(BodySendMode::Streamed, false))], chunks(PROMPT, 20)].concat();
    let answers = exchange(running.client, messages).await.unwrap();
    assert!(answers[0].mode_override.is_some());
    for answer in &answers[1..] {
        assert_eq!(super::body_answer(answer), &Default::default());
    }
    metric(&running.metrics, "missed_bodies_total 1\n").await;
}

/// Envoy rejects a body that is too long or too slow.
#[tokio::test]
async fn a_body_that_envoy_itself_rejects_is_not_counted_as_missed() {
    let running = start().await;
    for (status, missed) in [("413", 0), ("408", 0), ("200", 1)] {
        let Some(Request::RequestHeaders(response)) = request_headers(&[(":status", status)]).request else {
            panic!()
        };
        let buffered = in_mode(BodySendMode::Buffered, false);
        let messages = vec![begin(CHAT, buffered), message(Request::ResponseHeaders(response))];
        exchange(running.client.clone(), messages).await.unwrap();
        let counted = running.metrics.encode();
        assert!(counted.contains(&format!("missed_bodies_total {missed}\n")), "{status}: {counted}");
    }
}

#[tokio::test]
async fn without_a_policy_a_streamed_prompt_is_classified() {
    let running = serve(Sure, 8).await;
    let messages = [vec![begin(CHAT, DUPLEX)], chunks(PROMPT, 20)].concat();
    let answers = exchange(running.client, messages).await.unwrap();
    let Some(Response::RequestHeaders(headers)) = &answers[0].response else { panic!("{answers:?}") };
    let mutation = headers.response.as_ref().unwrap().header_mutation.as_ref().unwrap();
    assert!(mutation.set_headers.iter().any(|it| it.header.as_ref().unwrap().key == "x-llm-task"));
    assert!(answers[0].dynamic_metadata.is_some());
    assert_eq!(sent_on(&answers).1, PROMPT.as_bytes());
}

/// Envoy may have no copy of it.
#[tokio::test]
async fn without_a_policy_a_streamed_prompt_that_cannot_be_classified_is_forwarded_unchanged() {
    let running = serve(Failing, 8).await;
    let messages = [vec![begin(CHAT, DUPLEX)], chunks(PROMPT, 20)].concat();
    let answers = exchange(running.client.clone(), messages).await.unwrap();
    assert_eq!(sent_on(&answers), (None, PROMPT.as_bytes().to_vec(), true));

    let messages = [vec![begin(CHAT, STREAMED)], chunks(PROMPT, 20)].concat();
    let answers = exchange(running.client, messages).await.unwrap();
    let (headers, chunks) = answers.split_first().unwrap();
    assert_eq!(headers.response, Some(Response::RequestHeaders(HeadersResponse::default())));
    assert_eq!(chunks.len(), PROMPT.len().div_ceil(20));
    for answer in chunks {
        assert_eq!(super::body_answer(answer), &CommonResponse::default());
    }
    metric(&running.metrics, "requests_total{outcome=\"failed\"} 2\n").await;
}

#[tokio::test]
async fn a_streamed_response_comes_back_and_its_id_is_remembered() {
    let running = serve_with(Some(policy(|_| ())), Sure, 8).await;
    let both =
        ProtocolConfiguration { response_body_mode: BodySendMode::FullDuplexStreamed.into(), ..DUPLEX };
    let Some(Request::RequestHeaders(json)) =
        request_headers(&[("content-type", "application/json")]).request
    else {
        panic!()
    };
    let first = r#"{"model":"coder","input":"Hi"}"#;
    let response = r#"{"id":"resp_1","object":"response","output":[]}"#;
    let piece = |piece: &str, end_of_stream| {
        message(Request::ResponseBody(HttpBody { body: piece.to_owned().into(), end_of_stream }))
    };
    let messages = vec![
        begin("/v1/responses", both),
        chunk(first.as_bytes(), true),
        message(Request::ResponseHeaders(json)),
        piece(&response[..20], false),
        piece(&response[20..], true),
    ];
    let answers = exchange(running.client.clone(), messages).await.unwrap();
    let mut echoed = Vec::new();
    for answer in &answers {
        if let Some(Response::ResponseBody(body)) = &answer.response {
            let mutation = body.response.clone().unwrap().body_mutation.unwrap().mutation;
            let Some(Mutation::StreamedResponse(piece)) = mutation else { panic!("{mutation:?}") };
            echoed.push((piece.body.to_vec(), piece.end_of_stream));
        }
    }
    let expected = [(response[..20].into(), false), (response[20..].into(), true)];
    assert_eq!(echoed, expected);

    let next = r#"{"model":"auto","input":"Go on","previous_response_id":"resp_1"}"#;
    let messages = vec![begin("/v1/responses", both), chunk(next.as_bytes(), true)];
    let answers = exchange(running.client, messages).await.unwrap();
    assert_eq!(sent_on(&answers).0.as_deref(), Some("coder"));
}

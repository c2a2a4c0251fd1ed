//! Without a policy: every body is classified, and nothing is decided.

use std::collections::BTreeMap;

use llm_router_proto::contract::{
    CONTRACT_VERSION, Classifiers, ClassifyRequest, ClassifyResponse, HeadPrediction, Version,
};
use llm_router_proto::envoy::service::ext_proc::v3::{
    CommonResponse, HttpTrailers, processing_request, processing_response,
};
use llm_router_proto::limits::{MAX_HEADERS, MAX_VALUES};
use llm_router_proto::structs::{fields, list};
use llm_router_proto::{METHOD, SERVICE, Value};
use llm_router_test_support::time::{TIMEOUT, within};
use tonic::Code;
use tonic::transport::Channel;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::{
    CLASSIFY, PROMPT, Sure, admin, begun, body, body_answer, exchange, gated, headers, message, metric, next,
    open, request_headers, serve, set_headers,
};

#[tokio::test]
async fn one_body_gets_one_response_and_the_stream_ends_with_the_callers_side() {
    let running = serve(Sure, 8).await;
    let answers = exchange(running.client, vec![request("task", PROMPT).encode()]).await.unwrap();
    let [answer] = answers.as_slice() else { panic!("{answers:?}") };
    let expected = [("x-llm-task", "Code Generation"), ("x-llm-task-confidence", "0.7500")];
    let expected: BTreeMap<_, _> = expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    assert_eq!(set_headers(answer), expected);
    assert!(body_answer(answer).clear_route_cache);
    let response = ClassifyResponse::from_metadata(answer.dynamic_metadata.clone().unwrap()).unwrap();
    let scores = vec![("Chatbot".to_owned(), 0.25), ("Code Generation".to_owned(), 0.75)];
    let label = "Code Generation".to_owned();
    let task = HeadPrediction::Label { label, confidence: 0.75, scores };
    assert_eq!(response.predictions, [("task".to_owned(), task)]);
    assert_eq!(response.version, CONTRACT_VERSION);
}

#[tokio::test]
async fn envoys_own_filter_gets_an_answer_to_each_message_and_every_heads_scores() {
    use processing_response::Response;
    let running = serve(Sure, 8).await;
    let trailers = message(processing_request::Request::RequestTrailers(HttpTrailers::default()));
    let messages = vec![headers("/v1/chat/completions"), body(PROMPT), trailers];
    let answers = exchange(running.client, messages).await.unwrap();
    let [first, second, third] = answers.as_slice() else { panic!("{answers:?}") };
    assert!(matches!(&first.response, Some(Response::RequestHeaders(headers)) if headers.response.is_none()));
    let names: Vec<_> = set_headers(second).into_keys().collect();
    let expected =
        ["x-llm-safety", "x-llm-safety-confidence", "x-llm-task", "x-llm-task-confidence"].map(str::to_owned);
    assert_eq!(names, expected);
    assert!(matches!(&third.response, Some(Response::RequestTrailers(_))));
    let response = ClassifyResponse::from_metadata(second.dynamic_metadata.clone().unwrap()).unwrap();
    assert_eq!(response.version, Version::UNVERSIONED, "native Envoy's users see no version");
}

#[tokio::test]
async fn envoys_stream_is_answered_while_it_stays_open() {
    let running = serve(Sure, 8).await;
    let (messages, mut answers) = open(running.client).await.unwrap();
    messages.unbounded_send(body(PROMPT)).unwrap();
    let answer = next(&mut answers).await.unwrap().unwrap();
    assert_eq!(set_headers(&answer)["x-llm-task"], "Code Generation");
    drop(messages);
    assert!(next(&mut answers).await.unwrap().is_none());
}

#[tokio::test]
async fn a_body_without_text_is_forwarded_unchanged() {
    let running = serve(Sure, 8).await;
    for garbage in ["", "not json", "{\"messages\": 3}", "{\"messages\": []}", "\u{0}\u{1}"] {
        let answers = exchange(running.client.clone(), vec![body(garbage)]).await.unwrap();
        assert_eq!(body_answer(&answers[0]), &CommonResponse::default(), "{garbage:?}");
        assert_eq!(answers[0].dynamic_metadata, None);
    }
    assert!(running.metrics.encode().contains("requests_total{outcome=\"unclassifiable\"} 5"));
}

#[tokio::test]
async fn another_path_is_not_classified() {
    let running = serve(Sure, 8).await;
    let answers = exchange(running.client, vec![headers("/v1/models"), body(PROMPT)]).await.unwrap();
    assert_eq!(body_answer(&answers[1]), &CommonResponse::default());
}

#[tokio::test]
async fn a_completions_prompt_is_classified() {
    let running = serve(Sure, 8).await;
    let messages = vec![headers("/v1/completions"), body(r#"{"prompt":"Once upon a time"}"#)];
    let answers = exchange(running.client, messages).await.unwrap();
    assert_eq!(set_headers(&answers[1])["x-llm-task"], "Code Generation");
}

#[tokio::test]
async fn an_unknown_classifier_is_an_error_that_names_it() {
    let running = serve(Sure, 8).await;
    let status = exchange(running.client, vec![request("mood", PROMPT).encode()]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("mood"));
}

#[tokio::test]
async fn filters_of_every_minor_version_are_served() {
    let running = serve(Sure, 8).await;
    for minor in [0, CONTRACT_VERSION.minor, u32::MAX] {
        let version = Version { minor, ..CONTRACT_VERSION };
        let request = ClassifyRequest { version, ..request("task", PROMPT) };
        let answers = exchange(running.client.clone(), vec![request.encode()]).await.unwrap();
        assert_eq!(set_headers(&answers[0])["x-llm-task"], "Code Generation", "{version}");
    }
}

#[tokio::test]
async fn the_error_for_a_filter_of_another_major_version_says_what_to_upgrade() {
    let running = serve(Sure, 8).await;
    let version = Version { major: CONTRACT_VERSION.major + 1, minor: 0 };
    let request = ClassifyRequest { version, ..request("task", PROMPT) };
    let status = exchange(running.client, vec![request.encode()]).await.unwrap_err();
    // Not FAILED_PRECONDITION, upon which the filter would send its examples.
    assert_eq!(status.code(), Code::InvalidArgument);
    for part in [version.to_string(), CONTRACT_VERSION.to_string(), "upgrade the sidecar".to_owned()] {
        assert!(status.message().contains(&part), "{status}");
    }
    assert!(running.metrics.encode().contains("requests_total{outcome=\"invalid_request\"} 1"));
}

#[tokio::test]
async fn a_body_over_the_message_limit_is_rejected() {
    let running = serve(Sure, 8).await;
    let huge = "x".repeat(17 << 20);
    assert_eq!(exchange(running.client, vec![body(&huge)]).await.unwrap_err().code(), Code::OutOfRange);
}

/// Decoded, each empty value takes dozens of times its bytes.
#[tokio::test]
async fn a_message_of_too_many_values_is_rejected_before_they_are_decoded() {
    let running = serve(Sure, 8).await;
    let mut message = request("task", PROMPT).encode();
    let values = list(vec![Value::default(); MAX_VALUES]);
    let metadata = &mut message.metadata_context.as_mut().unwrap().filter_metadata;
    metadata.insert("other".to_owned(), fields([("a", values)]));
    let status = exchange(running.client.clone(), vec![message]).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(status.message().contains("metadata_context"), "{status}");

    let many = request_headers(&vec![("x-a", "b"); MAX_HEADERS + 1]);
    let status = exchange(running.client, vec![many]).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(status.message().contains("max_headers_count"), "{status}");
}

#[tokio::test]
async fn over_the_queue_limit_the_status_is_resource_exhausted_at_once() {
    let (backend, has_begun, open) = gated();
    let running = serve(backend, 1).await;
    let first = tokio::spawn(exchange(running.client.clone(), vec![body(PROMPT)]));
    let _has_begun = begun(has_begun).await;
    let second = tokio::spawn(exchange(running.client.clone(), vec![body(PROMPT)]));
    metric(&running.metrics, "queue_depth 1").await;

    let status = exchange(running.client.clone(), vec![body(PROMPT)]).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);

    open.send(()).unwrap();
    open.send(()).unwrap();
    assert!(first.await.unwrap().is_ok() && second.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_client_that_resets_its_stream_is_counted_and_not_classified() {
    let (backend, has_begun, open) = gated();
    let running = serve(backend, 8).await;
    let first = tokio::spawn(exchange(running.client.clone(), vec![body(PROMPT)]));
    let has_begun = begun(has_begun).await;
    let leaving = tokio::spawn(exchange(running.client.clone(), vec![body(PROMPT)]));
    metric(&running.metrics, "queue_depth 1").await;

    leaving.abort();
    metric(&running.metrics, "requests_total{outcome=\"cancelled\"} 1").await;
    open.send(()).unwrap();
    assert!(first.await.unwrap().is_ok());
    metric(&running.metrics, "queue_depth 0").await;
    assert!(has_begun.try_recv().is_err(), "the text of the client that left was classified");
}

#[tokio::test]
async fn stopping_finishes_what_is_in_progress() {
    let (backend, has_begun, open) = gated();
    let running = serve(backend, 8).await;
    let in_progress = tokio::spawn(exchange(running.client, vec![body(PROMPT)]));
    begun(has_begun).await;

    running.stop.cancel();
    tokio::task::yield_now().await;
    open.send(()).unwrap();

    assert_eq!(in_progress.await.unwrap().unwrap().len(), 1);
    within(TIMEOUT, running.server).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(running.address).await.is_err());
}

/// A request of our filter to one classifier about this chat completions body.
pub(super) fn request(classifier: &str, body: &str) -> ClassifyRequest {
    ClassifyRequest {
        version: CONTRACT_VERSION,
        classifiers: Classifiers::Named(vec![classifier.to_owned()]),
        policy: None,
        examples: None,
        body: body.to_owned().into(),
    }
}

#[tokio::test]
async fn the_server_describes_its_services() {
    let running = serve(Sure, 8).await;
    let channel =
        Channel::from_shared(format!("http://{}", running.address)).unwrap().connect().await.unwrap();
    let ask = |request| ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let questions = vec![
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(format!("{SERVICE}.{METHOD}"))),
    ];
    let mut client = ServerReflectionClient::new(channel);
    let mut answers =
        client.server_reflection_info(futures_util::stream::iter(questions)).await.unwrap().into_inner();

    let listed = next(&mut answers).await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(listed)) = listed else { panic!("{listed:?}") };
    let names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    assert!(
        names.contains(&SERVICE.to_owned()) && names.contains(&"grpc.health.v1.Health".to_owned()),
        "{names:?}"
    );

    let described = next(&mut answers).await.unwrap().unwrap().message_response;
    assert!(matches!(described, Some(MessageResponse::FileDescriptorResponse(_))), "{described:?}");
}

/// Operators' requests take no slots of users in the queue, and run when no user waits.
#[tokio::test]
async fn admin_requests_take_no_queue_slots_of_users() {
    let (backend, has_begun, open_gate) = gated();
    let running = serve(backend, 1).await;
    let first = tokio::spawn(exchange(running.client.clone(), vec![body(PROMPT)]));
    let has_begun = begun(has_begun).await;
    let service = running.service.clone();
    let operator = tokio::spawn(async move { admin(&service, CLASSIFY).await });
    metric(&running.metrics, "queue_depth 1").await;
    open_gate.send(()).unwrap();
    assert!(first.await.unwrap().is_ok());
    // The model has the operator's prompt now, and the queue of one still has a slot for this one.
    let _has_begun = begun(has_begun).await;
    let second = tokio::spawn(exchange(running.client.clone(), vec![body(PROMPT)]));
    metric(&running.metrics, "queue_depth 1").await;
    open_gate.send(()).unwrap();
    assert!(operator.await.unwrap().starts_with("HTTP/1.0 200"));
    open_gate.send(()).unwrap();
    assert!(second.await.unwrap().is_ok());
}

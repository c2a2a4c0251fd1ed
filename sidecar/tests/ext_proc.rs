//! The service over a real gRPC connection, called as our filter and as Envoy's own filter call it.
// Only functions marked as tests are exempt by themselves, not what they call.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::Result;
use llm_router_proto::envoy::config::core::v3::{HeaderMap, HeaderValue, Metadata};
use llm_router_proto::envoy::service::ext_proc::v3::{
    CommonResponse, HttpBody, HttpHeaders, HttpTrailers, ProcessingRequest, ProcessingResponse,
    external_processor_client::ExternalProcessorClient, processing_request, processing_response,
};
use llm_router_proto::{CLASSIFIERS, Kind, ListValue, METADATA_NAMESPACE, Struct, Value};
use llm_router_sidecar::engine::{Backend, Engine};
use llm_router_sidecar::ext_proc::{Service, server};
use llm_router_sidecar::model::scores::Scores;
use llm_router_sidecar::model::tokenizer::{Tokenizer, Tokens};
use llm_router_sidecar::telemetry::metrics::Metrics;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const PROMPT: &str = r#"{"messages":[{"role":"user","content":"Write a Python function."}]}"#;

/// Says "Code Generation" of every text, at once.
struct Sure;

/// Says so once the test opens the gate, and tells the test when it begins.
struct Gated {
    begun: Sender<()>,
    gate: Receiver<()>,
}

fn sure() -> Vec<Scores> {
    let labels = ["Chatbot", "Code Generation"].map(str::to_owned);
    let scores = |head: &str| Scores {
        head: head.into(),
        labels: labels.clone().into(),
        confidences: vec![0.25, 0.75],
    };
    vec![scores("safety"), scores("task")]
}

impl Backend for Sure {
    fn classify(&self, _: &Tokens) -> Result<Vec<Scores>> {
        Ok(sure())
    }
}

impl Backend for Gated {
    fn classify(&self, _: &Tokens) -> Result<Vec<Scores>> {
        self.begun.send(())?;
        self.gate.recv()?;
        Ok(sure())
    }
}

struct Running {
    client: ExternalProcessorClient<Channel>,
    address: SocketAddr,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    server: JoinHandle<Result<()>>,
}

async fn serve(backend: impl Backend, queue: usize) -> Running {
    let tokenizer = model().join("tokenizer.json");
    let metrics = Arc::new(Metrics::new());
    let service = Service {
        tokenizer: Arc::new(Tokenizer::load(&tokenizer).unwrap()),
        engine: Arc::new(Engine::start(vec![backend], queue, metrics.clone()).unwrap()),
        metrics: metrics.clone(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn(server::serve(listener, service, stop.clone()));
    let client = ExternalProcessorClient::connect(format!("http://{address}")).await.unwrap();
    Running { client, address, metrics, stop, server }
}

fn model() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/minilm");
    assert!(folder.join("tokenizer.json").is_file(), "no encoder in models/minilm: run scripts/setup");
    folder
}

fn body(body: &str) -> ProcessingRequest {
    let body = HttpBody { body: body.to_owned().into(), end_of_stream: true };
    message(processing_request::Request::RequestBody(body))
}

fn headers(path: &str) -> ProcessingRequest {
    let path = HeaderValue { key: ":path".to_owned(), raw_value: path.into(), ..HeaderValue::default() };
    let headers = Some(HeaderMap { headers: vec![path] });
    message(processing_request::Request::RequestHeaders(HttpHeaders { headers, end_of_stream: false }))
}

fn message(request: processing_request::Request) -> ProcessingRequest {
    ProcessingRequest { request: Some(request), metadata_context: None }
}

fn wanting(classifier: &str, mut request: ProcessingRequest) -> ProcessingRequest {
    let value = |kind| Value { kind: Some(kind) };
    let names = ListValue { values: vec![value(Kind::StringValue(classifier.to_owned()))] };
    let ours = Struct { fields: [(CLASSIFIERS.to_owned(), value(Kind::ListValue(names)))].into() };
    let filter_metadata = [(METADATA_NAMESPACE.to_owned(), ours)].into();
    request.metadata_context = Some(Metadata { filter_metadata });
    request
}

/// Sends the messages, ends our side, and reads until the server ends its side.
async fn exchange(
    mut client: ExternalProcessorClient<Channel>,
    messages: Vec<ProcessingRequest>,
) -> Result<Vec<ProcessingResponse>, Status> {
    let mut answers = client.process(futures_util::stream::iter(messages)).await?.into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await? {
        all.push(answer);
    }
    Ok(all)
}

fn body_answer(answer: &ProcessingResponse) -> &CommonResponse {
    match &answer.response {
        Some(processing_response::Response::RequestBody(body)) => body.response.as_ref().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn set_headers(answer: &ProcessingResponse) -> BTreeMap<String, String> {
    let mutation = body_answer(answer).header_mutation.iter();
    mutation
        .flat_map(|mutation| &mutation.set_headers)
        .filter_map(|option| option.header.clone())
        .map(|header| (header.key, String::from_utf8(header.raw_value).unwrap()))
        .collect()
}

#[tokio::test]
async fn one_body_gets_one_answer_and_the_stream_ends_with_the_callers_side() {
    let running = serve(Sure, 8).await;
    let answers = exchange(running.client, vec![wanting("task", body(PROMPT))]).await.unwrap();
    let [answer] = answers.as_slice() else { panic!("{answers:?}") };
    let expected = [("x-llm-task", "Code Generation"), ("x-llm-task-confidence", "0.7500")];
    let expected: BTreeMap<_, _> = expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    assert_eq!(set_headers(answer), expected);
    assert!(body_answer(answer).clear_route_cache);
    assert!(answer.dynamic_metadata.as_ref().unwrap().fields.contains_key("llm_router"));
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
}

#[tokio::test]
async fn envoys_stream_is_answered_while_it_stays_open() {
    let running = serve(Sure, 8).await;
    let (messages, stream) = futures_channel::mpsc::unbounded();
    let mut client = running.client;
    messages.unbounded_send(headers("/v1/chat/completions")).unwrap();
    let mut answers = client.process(stream).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    messages.unbounded_send(body(PROMPT)).unwrap();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!(set_headers(&answer)["x-llm-task"], "Code Generation");
    drop(messages);
    assert!(answers.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_body_without_text_goes_on_unchanged() {
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
    let status = exchange(running.client, vec![wanting("mood", body(PROMPT))]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("mood"));
}

#[tokio::test]
async fn a_body_over_the_message_limit_is_refused() {
    let running = serve(Sure, 8).await;
    let huge = "x".repeat(17 << 20);
    assert_eq!(exchange(running.client, vec![body(&huge)]).await.unwrap_err().code(), Code::OutOfRange);
}

fn gated() -> (Gated, Receiver<()>, Sender<()>) {
    let (begun, has_begun) = channel();
    let (open, gate) = channel();
    (Gated { begun, gate }, has_begun, open)
}

/// Waits without holding the runtime's thread.
async fn begun(has_begun: Receiver<()>) -> Receiver<()> {
    tokio::task::spawn_blocking(move || {
        has_begun.recv().unwrap();
        has_begun
    })
    .await
    .unwrap()
}

/// Waits until the metrics have a line.
async fn metric(metrics: &Metrics, line: &str) {
    while !metrics.encode().contains(line) {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn over_the_bound_the_answer_is_resource_exhausted_at_once() {
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
    running.server.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn health_says_serving() {
    let running = serve(Sure, 8).await;
    let channel =
        Channel::from_shared(format!("http://{}", running.address)).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    for service in ["", llm_router_proto::SERVICE] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service:?}");
    }
}

//! The service over a real gRPC connection, called as our filter and as Envoy's own filter call it: what the tests
//! need.
// Clippy exempts only test functions themselves, not the functions that they call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod body_memory;
mod classifying;
mod connections;
mod examples;
mod failing;
mod health;
mod replacing;
mod routing;
mod storm;
mod streaming;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Result;
use llm_router_classifier::engine::{Backend, BackendFactory, Batching, EngineOptions};
use llm_router_classifier::model::prediction::{HeadOutput, Outputs, Prediction};
use llm_router_classifier::model::tokenizer::{Tokenizer, Tokens};
use llm_router_classifier::pipeline::Pipeline;
use llm_router_proto::envoy::config::core::v3::{HeaderMap, HeaderValue};
use llm_router_proto::envoy::service::ext_proc::v3::{
    CommonResponse, HttpBody, HttpHeaders, ProcessingRequest, ProcessingResponse,
    external_processor_client::ExternalProcessorClient, processing_request, processing_response,
};
use llm_router_sidecar::admin::{self, AllowedHosts, Readiness};
use llm_router_sidecar::ext_proc::server::{self, Settings};
use llm_router_sidecar::ext_proc::{AssumedBodyMode, PolicyRouter, ReloadableService, Service};
use llm_router_sidecar::serve::listener;
use llm_router_sidecar::telemetry::metrics::Metrics;
use llm_router_test_support::time::{TIMEOUT, poll, within};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// More than any test needs, except for those of the limit itself.
const BODY_MEMORY: usize = 100 << 20;

const CHAT: &str = "/v1/chat/completions";
const PROMPT: &str = r#"{"messages":[{"role":"user","content":"Write a Python function."}]}"#;

/// A text for the admin API to classify.
const CLASSIFY: &str = "POST /v1/classify HTTP/1.0\r\nContent-Type: application/json\r\n\
                        Content-Length: 15\r\n\r\n{\"input\": \"hi\"}";

/// Predicts "Code Generation" for every text, at once.
struct Sure;

/// Predicts the same once the test opens the gate, and signals to the test when it begins.
struct Gated {
    begun: Sender<()>,
    gate: Receiver<()>,
}

fn sure() -> Prediction {
    let labels = ["Chatbot", "Code Generation"].map(str::to_owned);
    let scores = |head: &str| HeadOutput {
        head: head.into(),
        labels: labels.clone().into(),
        confidences: vec![0.25, 0.75],
        score: None,
    };
    Prediction { scores: vec![scores("safety"), scores("task")], ..Prediction::default() }
}

impl Backend for Sure {
    fn classify(&self, texts: &[&Tokens], _: Outputs) -> Result<Vec<Prediction>> {
        Ok(vec![sure(); texts.len()])
    }
}

impl Backend for Gated {
    fn classify(&self, texts: &[&Tokens], _: Outputs) -> Result<Vec<Prediction>> {
        self.begun.send(())?;
        self.gate.recv()?;
        Ok(vec![sure(); texts.len()])
    }
}

/// A stream that has the response to its headers, and stays open.
type Open = (futures_channel::mpsc::UnboundedSender<ProcessingRequest>, Streaming<ProcessingResponse>);

struct Running {
    client: ExternalProcessorClient<Channel>,
    address: SocketAddr,
    service: ReloadableService,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    server: JoinHandle<Result<()>>,
}

async fn serve(backend: impl BackendFactory, queue: usize) -> Running {
    serve_with(None, backend, queue).await
}

async fn serve_with(router: Option<PolicyRouter>, backend: impl BackendFactory, queue: usize) -> Running {
    serve_within(BODY_MEMORY, router, backend, queue).await
}

/// A server with this limit on the memory of bodies.
async fn serve_within(
    body_memory: usize,
    router: Option<PolicyRouter>,
    backend: impl BackendFactory,
    queue: usize,
) -> Running {
    let metrics = Arc::new(Metrics::new());
    let reloadable = ReloadableService::new(service(router, backend, queue, metrics.clone()), body_memory);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = server::serve(listener::tcp(listener), reloadable.clone(), settings(), stop.clone());
    let server = tokio::spawn(server);
    let client = ExternalProcessorClient::connect(format!("http://{address}")).await.unwrap();
    Running { client, address, service: reloadable, metrics, stop, server }
}

fn service(
    router: Option<PolicyRouter>,
    backend: impl BackendFactory,
    queue: usize,
    metrics: Arc<Metrics>,
) -> Service {
    let tokenizer = model().join("tokenizer.json");
    let tokenizer = Arc::new(Tokenizer::load(&tokenizer).unwrap());
    let measured = metrics.classifier.clone();
    let options = EngineOptions { queue, batching: Batching::Alone, tokenizers: NonZeroUsize::MIN };
    let heads = ["safety", "task"].map(str::to_owned).into();
    let pipeline = Pipeline::start(tokenizer, vec![backend], heads, options, measured).unwrap();
    let assumed_body_mode = AssumedBodyMode::default();
    let router = router.map(Arc::new);
    Service { pipeline, metrics, router, capture: None, assumed_body_mode, body_timeout: TIMEOUT }
}

/// The admin API's response to a request in HTTP/1.0, once the model is loaded.
async fn admin(service: &ReloadableService, request: &str) -> String {
    let readiness = Arc::new(Readiness::default());
    readiness.set(true);
    let loaded = Arc::new(OnceLock::from(service.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = admin::router(AllowedHosts::default(), Arc::new(Metrics::new()), readiness, loaded);
    tokio::spawn(axum::serve(listener, app).into_future());
    let response = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    };
    within(TIMEOUT, response).await
}

fn settings() -> Settings {
    Settings { tls: None, drain: Duration::from_secs(20) }
}

fn model() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/minilm");
    assert!(
        folder.join("tokenizer.json").is_file(),
        "no encoder in models/minilm: run scripts/setup --only minilm"
    );
    folder
}

fn body(body: &str) -> ProcessingRequest {
    let body = HttpBody { body: body.to_owned().into(), end_of_stream: true };
    message(processing_request::Request::RequestBody(body))
}

fn headers(path: &str) -> ProcessingRequest {
    request_headers(&[(":method", "POST"), (":path", path)])
}

fn request_headers(headers: &[(&str, &str)]) -> ProcessingRequest {
    let header = |(key, value): &(&str, &str)| HeaderValue {
        key: (*key).to_owned(),
        raw_value: value.as_bytes().to_vec(),
        ..HeaderValue::default()
    };
    let headers = Some(HeaderMap { headers: headers.iter().map(header).collect() });
    message(processing_request::Request::RequestHeaders(HttpHeaders { headers, end_of_stream: false }))
}

fn message(request: processing_request::Request) -> ProcessingRequest {
    ProcessingRequest { request: Some(request), ..ProcessingRequest::default() }
}

/// Sends the messages, ends our side, and reads until the server ends its side.
async fn exchange(
    mut client: ExternalProcessorClient<Channel>,
    messages: Vec<ProcessingRequest>,
) -> Result<Vec<ProcessingResponse>, Status> {
    let exchanged = async {
        let mut answers = client.process(futures_util::stream::iter(messages)).await?.into_inner();
        let mut all = Vec::new();
        while let Some(answer) = answers.message().await? {
            all.push(answer);
        }
        Ok(all)
    };
    within(TIMEOUT, exchanged).await
}

/// Starts a stream that stays open.
async fn open(mut client: ExternalProcessorClient<Channel>) -> Result<Open, Status> {
    let (messages, stream) = futures_channel::mpsc::unbounded();
    messages.unbounded_send(headers(CHAT)).unwrap();
    let mut answers = within(TIMEOUT, client.process(stream)).await?.into_inner();
    next(&mut answers).await?.unwrap();
    Ok((messages, answers))
}

/// The next message of a stream.
async fn next<T>(answers: &mut Streaming<T>) -> Result<Option<T>, Status> {
    within(TIMEOUT, answers.message()).await
}

fn body_answer(answer: &ProcessingResponse) -> &CommonResponse {
    match &answer.response {
        Some(processing_response::Response::RequestBody(body)) => body.response.as_ref().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The status and the error code of a response that Envoy sends to the client.
#[track_caller]
fn rejection(answer: &ProcessingResponse) -> (u32, Value) {
    let Some(processing_response::Response::ImmediateResponse(response)) = &answer.response else {
        panic!("{answer:?}")
    };
    let error: Value = serde_json::from_slice(&response.body).unwrap();
    (response.status.as_ref().unwrap().code, error["error"]["code"].clone())
}

fn set_headers(answer: &ProcessingResponse) -> BTreeMap<String, String> {
    let mutation = body_answer(answer).header_mutation.iter();
    mutation
        .flat_map(|mutation| &mutation.set_headers)
        .filter_map(|option| option.header.clone())
        .map(|header| (header.key, String::from_utf8(header.raw_value).unwrap()))
        .collect()
}

fn gated() -> (Gated, Receiver<()>, Sender<()>) {
    let (begun, has_begun) = channel();
    let (open, gate) = channel();
    (Gated { begun, gate }, has_begun, open)
}

/// Waits without holding the runtime's thread.
async fn begun(has_begun: Receiver<()>) -> Receiver<()> {
    tokio::task::spawn_blocking(move || {
        has_begun.recv_timeout(TIMEOUT).expect("no text reached the backend");
        has_begun
    })
    .await
    .unwrap()
}

/// Waits until the metrics have a line.
async fn metric(metrics: &Metrics, line: &str) {
    let found = async || {
        let encoded = metrics.encode();
        if encoded.contains(line) { Ok(()) } else { Err(format!("no {line} in {encoded}")) }
    };
    poll(found).await;
}

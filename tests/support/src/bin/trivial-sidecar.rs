//! A sidecar that immediately gives every prompt the same label, to measure the cost of the call alone (`scripts/bench`).

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use clap::Parser;
use http_body_util::StreamBody;
use hyper::HeaderMap;
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use llm_router_proto::contract::{CONTRACT_VERSION, ClassifyResponse, HeadPrediction};
use llm_router_proto::envoy::service::ext_proc::v3::ProcessingResponse;
use prost::Message;
use tokio::net::TcpListener;

/// A sidecar that immediately predicts the same label for every prompt.
#[derive(Parser)]
struct Options {
    /// Address to listen on, IP:PORT.
    #[arg(long)]
    listen: SocketAddr,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let options = Options::parse();
    let listener = TcpListener::bind(options.listen).await?;
    let response = Bytes::from(response());
    let router = Router::new().fallback(async move |_call: Bytes| grpc(response.clone()));
    axum::serve(listener, router).await
}

/// The response to every call.
fn response() -> Vec<u8> {
    let label = "Chatbot".to_owned();
    let task = HeadPrediction::Label { label, confidence: 0.875, scores: Vec::new() };
    let predictions = vec![("task".to_owned(), task)];
    let response = ClassifyResponse { version: CONTRACT_VERSION, predictions, coverage: None };
    ProcessingResponse { dynamic_metadata: Some(response.into_metadata()), ..ProcessingResponse::default() }
        .encode_to_vec()
}

/// The message in gRPC's frame: not compressed, its length; and the status OK.
fn grpc(message: Bytes) -> Response {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    let prefix = Bytes::from([&[0], length.as_slice()].concat());
    let status = (HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
    let frames = [Frame::data(prefix), Frame::data(message), Frame::trailers(HeaderMap::from_iter([status]))];
    let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, Infallible>)));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

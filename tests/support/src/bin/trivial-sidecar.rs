//! A sidecar that gives every prompt the same label at once: what remains is the cost of the call (`scripts/bench`).

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
use tokio::net::TcpListener;

/// A sidecar that gives every prompt the same label at once.
#[derive(Parser)]
struct Options {
    /// Where to listen, as IP:PORT.
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

/// A `ProcessingResponse` whose dynamic metadata are `llm_router: {task: {label: Chatbot, confidence: 0.875}}`.
fn response() -> Vec<u8> {
    const DYNAMIC_METADATA: u8 = 8;
    let label = entry("label", &field(3, b"Chatbot"));
    let mut number = vec![2 << 3 | 1];
    number.extend(0.875_f64.to_le_bytes());
    let confidence = entry("confidence", &number);
    let task = entry("task", &field(5, &[label, confidence].concat()));
    field(DYNAMIC_METADATA, &entry("llm_router", &field(5, &task)))
}

/// An entry of a `Struct`'s only field, a map; `value` is an encoded `Value`.
fn entry(name: &str, value: &[u8]) -> Vec<u8> {
    field(1, &[field(1, name.as_bytes()), field(2, value)].concat())
}

/// A protobuf field of bytes, as short as ours all are: number and wire type, then the length in one byte.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    const LENGTH_DELIMITED: u8 = 2;
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    [&[number << 3 | LENGTH_DELIMITED, length], bytes].concat()
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

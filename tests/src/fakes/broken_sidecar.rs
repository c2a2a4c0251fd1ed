//! Sidecars that misbehave. One that does not listen is at [`refusing_address`](crate::refusing_address).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::HeaderMap;
use hyper::body::Frame;
use hyper::header::{HeaderName, HeaderValue};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Accepts connections and never responds. The receiver gets what it reads.
#[must_use]
pub fn silent() -> (SocketAddr, UnboundedReceiver<Vec<u8>>) {
    let (reads, reports) = unbounded_channel();
    let address = crate::serve(async move |listener| {
        while let Ok((mut connection, _)) = listener.accept().await {
            let reads = reads.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 << 10];
                while let Ok(bytes @ 1..) = connection.read(&mut buffer).await {
                    let _ = reads.send(buffer[..bytes].to_vec());
                }
            });
        }
    });
    (address, reports)
}

/// Responds to the calls with these gRPC messages and statuses, one after the other.
///
/// # Panics
/// In the background, if there are more calls than responses: the connection breaks.
#[must_use]
pub fn responding(responses: Vec<(Vec<u8>, &'static str)>) -> SocketAddr {
    let responses = Arc::new(Mutex::new(responses.into_iter()));
    crate::serve(move |listener| async move {
        let respond = async move || {
            let response = responses.lock().expect("no panic").next();
            let (message, status) = response.expect("a response to each call");
            grpc(message.into(), status)
        };
        axum::serve(listener, Router::new().fallback(respond)).await
    })
}

/// Responds to every call with this gRPC status and message, and nothing else.
#[must_use]
pub fn failing(status: &'static str, message: HeaderValue) -> SocketAddr {
    crate::serve(move |listener| async move {
        let respond = async move || {
            let mut response = Response::new(Body::empty());
            let headers = [
                ("content-type", HeaderValue::from_static("application/grpc")),
                ("grpc-status", HeaderValue::from_static(status)),
                ("grpc-message", message.clone()),
            ];
            let named = headers.map(|(name, value)| (HeaderName::from_static(name), value));
            response.headers_mut().extend(named);
            response
        };
        axum::serve(listener, Router::new().fallback(respond)).await
    })
}

/// Responds as no gRPC server would.
#[must_use]
pub fn not_grpc() -> SocketAddr {
    crate::serve(|listener| async {
        axum::serve(listener, Router::new().fallback(async || "It works!")).await
    })
}

/// A response to a gRPC call.
///
/// # Panics
/// If the message is larger than gRPC allows.
#[must_use]
pub fn grpc(message: Bytes, status: &'static str) -> Response {
    // Whether it is compressed, then the length: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
    let length = u32::try_from(message.len()).expect("a small message").to_be_bytes();
    let prefix = Bytes::from([&[0], length.as_slice()].concat());
    let trailers =
        HeaderMap::from_iter([("grpc-status".parse().expect("a name"), HeaderValue::from_static(status))]);
    let frames = [Frame::data(prefix), Frame::data(message), Frame::trailers(trailers)];
    let frames = futures_util::stream::iter(frames.map(Ok::<_, Infallible>));
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

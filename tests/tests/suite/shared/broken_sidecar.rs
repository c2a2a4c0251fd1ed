//! Sidecars that do what sidecars must not.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
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

/// Nobody listens here.
pub(crate) fn absent() -> SocketAddr {
    let listener = TcpListener::bind(llm_router_tests::ANY_PORT).expect("a free port");
    listener.local_addr().expect("its address")
}

/// Accepts connections, and never says a word. The receiver gets what it reads.
pub(crate) fn silent() -> (SocketAddr, UnboundedReceiver<Vec<u8>>) {
    let (reads, reports) = unbounded_channel();
    let address = llm_router_tests::serve(async move |listener| {
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

/// Answers the calls with these gRPC messages and statuses, one after the other.
pub(crate) fn answering(answers: Vec<(Vec<u8>, &'static str)>) -> SocketAddr {
    let answers = Arc::new(Mutex::new(answers.into_iter()));
    llm_router_tests::serve(move |listener| async move {
        let answer = async move || {
            let (message, status) = answers.lock().expect("no panic").next().expect("an answer to each call");
            grpc(message.into(), status)
        };
        axum::serve(listener, Router::new().fallback(answer)).await
    })
}

/// Answers every call with this gRPC status and message, and nothing else.
pub(crate) fn failing(status: &'static str, message: HeaderValue) -> SocketAddr {
    llm_router_tests::serve(move |listener| async move {
        let answer = async move || {
            let mut response = Response::new(Body::empty());
            let headers = [
                ("content-type", HeaderValue::from_static("application/grpc")),
                ("grpc-status", HeaderValue::from_static(status)),
                ("grpc-message", message.clone()),
            ];
            response
                .headers_mut()
                .extend(headers.map(|(name, value)| (HeaderName::from_static(name), value)));
            response
        };
        axum::serve(listener, Router::new().fallback(answer)).await
    })
}

/// Answers as no gRPC server would.
pub(crate) fn not_grpc() -> SocketAddr {
    llm_router_tests::serve(|listener| async {
        axum::serve(listener, Router::new().fallback(async || "It works!")).await
    })
}

pub(crate) fn grpc(message: Bytes, status: &'static str) -> Response {
    // Not compressed, then the length: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
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

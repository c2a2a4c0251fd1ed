//! A rate limit service that allows every request.

use std::net::SocketAddr;

use axum::Router;
use bytes::Bytes;
use http_body_util::BodyExt;
use prost::Message;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::broken_sidecar::grpc;

/// A descriptor's entries, and its hits.
pub type Call = (Vec<(String, String)>, u64);

/// Starts one. The receiver gets each call.
///
/// # Panics
/// In the background, at what is not a call to a rate limit service.
#[must_use]
pub fn start() -> (SocketAddr, UnboundedReceiver<Call>) {
    let (sender, calls) = unbounded_channel();
    let respond = move |request: axum::extract::Request| {
        let sender = sender.clone();
        async move {
            let body = request.into_body().collect().await.expect("a message").to_bytes();
            let call = RateLimitRequest::decode(&body[5..]).expect("envoy.service.ratelimit.v3");
            for descriptor in call.descriptors {
                let entries = descriptor.entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
                let hits = descriptor.hits_addend.map_or(u64::from(call.hits_addend), |hits| hits.value);
                let _ = sender.send((entries, hits));
            }
            // overall_code: OK
            grpc(Bytes::from_static(&[0x08, 0x01]), "0")
        }
    };
    let router = Router::new().fallback(respond);
    (crate::serve(|listener| async { axum::serve(listener, router).await }), calls)
}

/// `envoy.service.ratelimit.v3.RateLimitRequest`, as far as tests need it.
#[derive(Clone, PartialEq, Message)]
struct RateLimitRequest {
    #[prost(message, repeated, tag = "2")]
    descriptors: Vec<Descriptor>,
    #[prost(uint32, tag = "3")]
    hits_addend: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Descriptor {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
    #[prost(message, optional, tag = "3")]
    hits_addend: Option<Hits>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Hits {
    #[prost(uint64, tag = "1")]
    value: u64,
}

//! A server of one file.

use std::net::SocketAddr;

use axum::Router;
use bytes::Bytes;

/// Starts one that responds to every request with these bytes.
#[must_use]
pub fn start(file: Vec<u8>) -> SocketAddr {
    let file = Bytes::from(file);
    let router = Router::new().fallback(move || async move { file });
    crate::serve(|listener| async { axum::serve(listener, router).await })
}

//! The last requests that stand-ins were sent, byte for byte.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, Method, Version};
use bytes::Bytes;

/// How many requests are kept. Their bodies can be large.
const KEPT: usize = 64;

/// A request as it reached a stand-in.
#[derive(Debug, Clone)]
pub struct Received {
    /// The stand-in's name.
    pub cluster: String,
    /// The request's method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it was on the wire, without chunk framing.
    pub body: Bytes,
    /// The trailers, if there were any.
    pub trailers: HeaderMap,
}

/// A bounded log of [`Received`] requests.
#[derive(Debug, Default)]
pub struct ReceivedLog(Mutex<VecDeque<Received>>);

impl ReceivedLog {
    pub(super) fn push(&self, request: Received) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == KEPT {
            log.pop_front();
        }
        log.push_back(request);
    }

    /// The last request whose [`TEST_ID`](super::TEST_ID) header is `id`.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Received> {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter()
            .rev()
            .find(|request| request.headers.get(super::TEST_ID).is_some_and(|it| it == id))
            .cloned()
    }
}

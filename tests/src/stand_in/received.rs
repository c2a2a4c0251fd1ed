//! The last requests that stand-ins were sent, byte for byte.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, Method, StatusCode, Version};
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
    /// The host, where it is not a header: in HTTP/2.
    pub authority: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it was on the wire, without chunk framing.
    pub body: Bytes,
    /// The trailers, if there were any.
    pub trailers: HeaderMap,
}

impl Received {
    /// The failure that the test wants of this stand-in, if it wants one.
    pub(super) fn failure(&self) -> Option<StatusCode> {
        let wanted = self.headers.get(super::FAILS)?.to_str().ok()?;
        let mut wanted = wanted.split(',').filter_map(|one| one.split_once(':'));
        wanted.find(|(cluster, _)| *cluster == self.cluster)?.1.parse().ok()
    }
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
        self.attempts(id).pop()
    }

    /// All requests whose [`TEST_ID`](super::TEST_ID) header is `id`, in their order.
    #[must_use]
    pub fn attempts(&self, id: &str) -> Vec<Received> {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |request: &&Received| request.headers.get(super::TEST_ID).is_some_and(|it| it == id);
        log.iter().filter(is_it).cloned().collect()
    }
}

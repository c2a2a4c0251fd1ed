//! The requests that mock LLMs received and that a test tracks. Other requests, such as load, are not recorded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, Method, StatusCode, Version};
use bytes::Bytes;

use super::{FAILS, Gate, TEST_ID};

/// A request as it reached a mock LLM.
#[derive(Debug, Clone)]
pub struct Received {
    /// The mock LLM's name.
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
    /// The failure that the test wants of this mock LLM, if any.
    pub(super) fn failure(&self) -> Option<StatusCode> {
        let wanted = self.headers.get(FAILS)?.to_str().ok()?;
        let mut wanted = wanted.split(',').filter_map(|one| one.split_once(':'));
        wanted.find(|(cluster, _)| *cluster == self.cluster)?.1.parse().ok()
    }
}

/// What is known of one tracked request.
#[derive(Debug, Default)]
struct Entry {
    received: Vec<Received>,
    gate: Option<Gate>,
}

/// The tracked requests by their [`TEST_ID`]. Several mock LLMs can share one log.
#[derive(Debug, Default)]
pub struct RequestLog {
    entries: Mutex<HashMap<String, Entry>>,
    last_id: AtomicU64,
}

impl RequestLog {
    /// Tracks one more request, from now until the handle is dropped.
    #[must_use]
    pub fn track(self: &Arc<Self>) -> TrackedRequest {
        let id = format!("test-{}", self.last_id.fetch_add(1, Ordering::Relaxed));
        self.entries().insert(id.clone(), Entry::default());
        TrackedRequest { id, log: Arc::clone(self) }
    }

    /// How many requests are tracked.
    #[must_use]
    pub fn tracked(&self) -> usize {
        self.entries().len()
    }

    /// Keeps the request if it is tracked.
    pub(super) fn record(&self, received: &Received) {
        let Some(id) = test_id(&received.headers) else { return };
        if let Some(entry) = self.entries().get_mut(id) {
            entry.received.push(received.clone());
        }
    }

    /// The gate of a request with these headers.
    pub(super) fn gate(&self, headers: &HeaderMap) -> Option<Gate> {
        self.entries().get(test_id(headers)?)?.gate.clone()
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn test_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(TEST_ID)?.to_str().ok()
}

/// A request that mock LLMs keep for as long as this exists.
#[derive(Debug)]
pub struct TrackedRequest {
    id: String,
    log: Arc<RequestLog>,
}

impl TrackedRequest {
    /// The value that the request's [`TEST_ID`] header must have.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The request each time that a mock LLM received it, in this order.
    #[must_use]
    pub fn attempts(&self) -> Vec<Received> {
        self.log.entries().get(&self.id).map(|entry| entry.received.clone()).unwrap_or_default()
    }

    /// Holds back the stream that responds to the request.
    #[must_use]
    pub fn hold(&self) -> Gate {
        let gate = Gate::closed();
        self.log.entries().entry(self.id.clone()).or_default().gate = Some(gate.clone());
        gate
    }
}

impl Drop for TrackedRequest {
    fn drop(&mut self) {
        self.log.entries().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn received(id: Option<&str>) -> Received {
        Received {
            cluster: "llm".to_owned(),
            method: Method::POST,
            path: "/v1/chat/completions".to_owned(),
            version: Version::HTTP_11,
            authority: None,
            headers: id.map(|id| (TEST_ID.parse().unwrap(), id.parse().unwrap())).into_iter().collect(),
            body: Bytes::new(),
            trailers: HeaderMap::new(),
        }
    }

    #[test]
    fn a_tracked_request_stays_whatever_else_arrives() {
        let log = Arc::new(RequestLog::default());
        let (sent, not_sent) = (log.track(), log.track());
        log.record(&received(Some(sent.id())));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..10_000 {
                        log.record(&received(None));
                        log.record(&received(Some(&format!("nobody-tracks-{number}"))));
                        drop(log.track());
                    }
                });
            }
        });
        assert_eq!((sent.attempts().len(), not_sent.attempts().len()), (1, 0));
        assert_eq!(log.tracked(), 2, "untracked requests were kept");
    }

    #[test]
    fn nothing_is_kept_of_a_request_that_nobody_tracks_any_more() {
        let log = Arc::new(RequestLog::default());
        let request = log.track();
        let _gate = request.hold();
        let late = received(Some(request.id()));
        drop(request);
        log.record(&late);
        assert_eq!(log.tracked(), 0);
        assert!(log.gate(&late.headers).is_none());
    }

    #[test]
    fn attempts_are_in_their_order() {
        let log = Arc::new(RequestLog::default());
        let request = log.track();
        for cluster in ["first", "second"] {
            log.record(&Received { cluster: cluster.to_owned(), ..received(Some(request.id())) });
        }
        let clusters: Vec<_> = request.attempts().into_iter().map(|it| it.cluster).collect();
        assert_eq!(clusters, ["first", "second"]);
    }
}

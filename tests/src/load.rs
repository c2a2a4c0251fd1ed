//! Continuous requests while a test disturbs the processes that serve them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::client::{Request, Response};
use crate::{TIMEOUT, poll, within};

/// Clients that send one request after the other, each on a connection of its own.
#[derive(Debug)]
pub struct Load {
    stopped: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<(Response, Duration)>>>,
}

/// The responses to all requests.
#[derive(Debug)]
pub struct Outcome {
    /// The responses, and how long each took.
    pub responses: Vec<(Response, Duration)>,
}

impl Load {
    /// Starts this number of clients. Each sends what `request` returns, untracked.
    #[must_use]
    pub fn start(
        to: SocketAddr,
        clients: usize,
        request: impl Fn() -> Request + Clone + Send + 'static,
    ) -> Self {
        let (stopped, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |_| {
            let (request, stopped, served) = (request.clone(), Arc::clone(&stopped), Arc::clone(&served));
            tokio::spawn(async move {
                let mut responses = Vec::new();
                while !stopped.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    let response = request().untracked().send(to).await;
                    responses.push((response, start.elapsed()));
                    served.fetch_add(1, Ordering::Relaxed);
                }
                responses
            })
        };
        Self { clients: (0..clients).map(client).collect(), stopped, served }
    }

    /// Waits until this number of further requests got a response.
    pub async fn more(&self, requests: usize) {
        let wanted = self.served.load(Ordering::Relaxed) + requests;
        poll(async || {
            let served = self.served.load(Ordering::Relaxed);
            if served >= wanted { Ok(()) } else { Err(format!("{served} of {wanted}")) }
        })
        .await;
    }

    /// Waits for the last responses.
    ///
    /// # Panics
    /// If a request had no HTTP response.
    pub async fn stop(self) -> Outcome {
        self.stopped.store(true, Ordering::Relaxed);
        let mut responses = Vec::new();
        for client in self.clients {
            responses.extend(within(2 * TIMEOUT, client).await.expect("a response to each request"));
        }
        Outcome { responses }
    }
}

impl Outcome {
    /// Checks that each request was served.
    ///
    /// # Panics
    /// If one was not.
    #[track_caller]
    pub fn assert_all_served(&self) {
        assert!(!self.responses.is_empty(), "no requests");
        let failed: Vec<_> = self.responses.iter().filter(|(response, _)| response.status != 200).collect();
        let all = self.responses.len();
        assert!(failed.is_empty(), "{} of {all} failed: {:?}", failed.len(), failed.first());
    }

    /// The time within which this percentage of the responses arrived.
    ///
    /// # Panics
    /// If there are none.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Duration {
        let mut all: Vec<_> = self.responses.iter().map(|(_, took)| *took).collect();
        all.sort();
        let place = (all.len() as f64 * percent / 100.0).ceil() as usize;
        all[place.clamp(1, all.len()) - 1]
    }

    /// How many responses have this value of the header.
    #[must_use]
    pub fn with(&self, header: &str, value: &str) -> usize {
        self.responses.iter().filter(|(response, _)| response.header(header) == value).count()
    }
}

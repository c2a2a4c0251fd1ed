//! Requests that go on while a test does something to those who serve them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::client::{Answer, Request};
use crate::envoy::Envoy;

/// Clients that send one request after the other, each on a connection of its own.
#[derive(Debug)]
pub struct Load {
    stopped: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<(Answer, Duration)>>>,
}

/// What became of all requests.
#[derive(Debug)]
pub struct Outcome {
    /// The answers, and what each took.
    pub answers: Vec<(Answer, Duration)>,
}

impl Load {
    /// Starts so many clients; `request` is asked for each request.
    #[must_use]
    pub fn start(
        envoy: &Envoy,
        clients: usize,
        request: impl Fn() -> Request + Clone + Send + 'static,
    ) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let (envoy, request, stopped) = (envoy.clone(), request.clone(), Arc::clone(&stopped));
            tokio::spawn(async move {
                let mut answers = Vec::new();
                while !stopped.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    let answer = envoy.send(request()).await;
                    answers.push((answer, start.elapsed()));
                }
                answers
            })
        };
        Self { clients: (0..clients).map(client).collect(), stopped }
    }

    /// Waits for the last answers.
    ///
    /// # Panics
    /// A request had no answer that HTTP allows.
    pub async fn stop(self) -> Outcome {
        self.stopped.store(true, Ordering::Relaxed);
        let mut answers = Vec::new();
        for client in self.clients {
            answers.extend(client.await.expect("an answer to each request"));
        }
        Outcome { answers }
    }
}

impl Outcome {
    /// Checks that each request was served.
    ///
    /// # Panics
    /// One was not.
    #[track_caller]
    pub fn assert_all_served(&self) {
        assert!(!self.answers.is_empty(), "no requests");
        let failed: Vec<_> = self.answers.iter().filter(|(answer, _)| answer.status != 200).collect();
        assert!(failed.is_empty(), "{} of {} failed: {:?}", failed.len(), self.answers.len(), failed.first());
    }

    /// What all but this share of them took at most.
    ///
    /// # Panics
    /// There are none.
    #[must_use]
    pub fn percentile(&self, share: f64) -> Duration {
        let mut all: Vec<_> = self.answers.iter().map(|(_, took)| *took).collect();
        all.sort();
        let place = (all.len() as f64 * share / 100.0).ceil() as usize;
        all[place.clamp(1, all.len()) - 1]
    }

    /// How many answers have this value of the header.
    #[must_use]
    pub fn with(&self, header: &str, value: &str) -> usize {
        self.answers.iter().filter(|(answer, _)| answer.header(header) == value).count()
    }
}

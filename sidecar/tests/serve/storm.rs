//! Ten thousand streams on a hundred connections, which are then cut. It is a measurement, so it runs only by
//! hand:
//!
//! ```sh
//! cargo test -p llm-router-sidecar --release --test serve -- --ignored --nocapture storm
//! ```
//!
//! `SIDECAR_PRELOAD=/usr/lib/x86_64-linux-gnu/libjemalloc.so.2` in front runs the sidecar with another allocator, if it was
//! built without one of its own.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tonic::Code;

use crate::calls::{Open, classify};
use crate::sidecar::{Sidecar, minilm};

const CONNECTIONS: usize = 100;
const STREAMS: usize = 10_000;
const CALLS: usize = 1000;

fn percentile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// All streams of all connections, after the responses to their headers.
async fn open_all(sidecar: &Sidecar) -> Vec<Open> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(sidecar.connect().await);
    }
    let each = clients.into_iter().flat_map(|client| vec![client; STREAMS / CONNECTIONS]);
    join_all(each.map(Open::begin)).await
}

/// Latencies of calls by eight clients, one after the other each.
async fn calls(sidecar: &Sidecar) -> Vec<Duration> {
    let mut clients = Vec::new();
    for _ in 0..8 {
        let client = sidecar.connect().await;
        clients.push(tokio::spawn(async move {
            let mut times = Vec::new();
            for _ in 0..CALLS / 8 {
                let start = Instant::now();
                classify(client.clone()).await.unwrap();
                times.push(start.elapsed());
            }
            times
        }));
    }
    let mut all = Vec::new();
    for client in clients {
        all.extend(client.await.unwrap());
    }
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, and takes a minute"]
async fn storm() {
    let preload = std::env::var("SIDECAR_PRELOAD").map(|library| ("LD_PRELOAD", library));
    let model = minilm();
    let arguments = ["--model", model.to_str().unwrap()];
    let environment: Vec<_> = preload.into_iter().collect();
    let sidecar = Sidecar::start(tempfile::tempdir().unwrap(), &arguments, &environment).await;
    let report = |what: &str| println!("{:>5} MB  {what}", sidecar.process.resident_megabytes());
    report("idle");

    let start = Instant::now();
    let mut streams = open_all(&sidecar).await;
    report(&format!("{STREAMS} streams open, after {:.1?}", start.elapsed()));

    let times = calls(&sidecar).await;
    let (p50, p99) = (percentile(&times, 0.5), percentile(&times, 0.99));
    report(&format!("{CALLS} calls beside them, p50 {p50:.1?} p99 {p99:.1?}"));

    let start = Instant::now();
    let answers = join_all(streams.iter_mut().map(Open::try_body)).await;
    let refused =
        answers.iter().filter(|it| matches!(it, Err(code) if *code == Code::ResourceExhausted)).count();
    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(answered + refused, STREAMS, "{answers:?}");
    report(&format!("{STREAMS} bodies at once, {:.1?}: {answered} ok", start.elapsed()));

    drop(streams);
    for _ in 0..6 {
        // Dropping the streams drops the connections.
        drop(open_all(&sidecar).await);
    }
    report("after all were cut, opened and cut six times");
    let times = calls(&sidecar).await;
    let (p50, p99) = (percentile(&times, 0.5), percentile(&times, 0.99));
    report(&format!("{CALLS} calls after them, p50 {p50:.1?} p99 {p99:.1?}"));
}

//! Many streams, and clients that leave all at once.

use futures_util::future::join_all;
use llm_router_proto::envoy::service::ext_proc::v3::external_processor_client::ExternalProcessorClient;
use tonic::transport::Channel;

use super::{PROMPT, Running, Sure, begun, body, exchange, gated, metric, next, open, serve};

/// More than the 200 streams that hyper lets a connection have, and the 20 resets that h2 takes for an attack.
const STREAMS: usize = 1000;

async fn connect(running: &Running) -> ExternalProcessorClient<Channel> {
    ExternalProcessorClient::connect(format!("http://{}", running.address)).await.unwrap()
}

#[tokio::test]
async fn one_connection_carries_a_thousand_streams_that_stay_open() {
    let running = serve(Sure, STREAMS).await;
    let streams = join_all((0..STREAMS).map(|_| open(running.client.clone()))).await;
    let streams: Result<Vec<_>, _> = streams.into_iter().collect();
    let answered = join_all(streams.unwrap().into_iter().map(|(messages, mut answers)| async move {
        messages.unbounded_send(body(PROMPT)).unwrap();
        next(&mut answers).await
    }));
    assert!(answered.await.iter().all(|answer| matches!(answer, Ok(Some(_)))));
}

#[tokio::test]
async fn a_burst_of_resets_does_not_hurt_the_connections_other_streams() {
    let (backend, has_begun, gate) = gated();
    let running = serve(backend, STREAMS).await;
    let stays = tokio::spawn(exchange(running.client.clone(), vec![body(PROMPT)]));
    let _has_begun = begun(has_begun).await;

    // Opened and left before the server can have seen them.
    let leaving: Vec<_> =
        (0..STREAMS).map(|_| tokio::spawn(exchange(running.client.clone(), vec![body(PROMPT)]))).collect();
    tokio::task::yield_now().await;
    leaving.iter().for_each(tokio::task::JoinHandle::abort);
    join_all(leaving).await;

    gate.send(()).unwrap();
    assert!(stays.await.unwrap().is_ok());
}

#[tokio::test]
async fn connections_that_are_cut_leave_nothing_behind_and_others_unharmed() {
    let (backend, has_begun, gate) = gated();
    let running = serve(backend, STREAMS).await;
    let stays = tokio::spawn(exchange(running.client.clone(), vec![body(PROMPT)]));
    let _has_begun = begun(has_begun).await;
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let client = connect(&running).await;
        waiting.extend((0..20).map(|_| tokio::spawn(exchange(client.clone(), vec![body(PROMPT)]))));
    }
    metric(&running.metrics, "queue_depth 200").await;

    // With its last client, a connection is closed.
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    metric(&running.metrics, "requests_total{outcome=\"cancelled\"} 200").await;

    gate.send(()).unwrap();
    assert!(stays.await.unwrap().is_ok());
    metric(&running.metrics, "queue_depth 0").await;
}

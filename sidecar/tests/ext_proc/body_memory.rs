//! Bodies take no more memory than they may, all together.

use tonic::Code;

use super::{BODY_MEMORY, PROMPT, begun, body, exchange, gated, metric, serve};

/// A prompt with so many bytes beside it that eight take more than all may.
fn large() -> String {
    PROMPT.replacen('{', &format!(r#"{{"metadata":"{}","#, "x".repeat(BODY_MEMORY / 8)), 1)
}

#[tokio::test]
async fn a_body_for_which_there_is_no_memory_left_is_refused_until_there_is() {
    let (backend, has_begun, open) = gated();
    let running = serve(backend, 16).await;
    let first = tokio::spawn(exchange(running.client.clone(), vec![body(&large())]));
    let _has_begun = begun(has_begun).await;
    let waiting: Vec<_> =
        (0..6).map(|_| tokio::spawn(exchange(running.client.clone(), vec![body(&large())]))).collect();
    metric(&running.metrics, "queue_depth 6").await;

    let status = exchange(running.client.clone(), vec![body(&large())]).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let small = tokio::spawn(exchange(running.client.clone(), vec![body(PROMPT)]));

    for _ in 0..8 {
        open.send(()).unwrap();
    }
    assert!(first.await.unwrap().is_ok() && small.await.unwrap().is_ok());
    for waiting in waiting {
        assert!(waiting.await.unwrap().is_ok());
    }
    metric(&running.metrics, "body_bytes 0").await;
    open.send(()).unwrap();
    assert!(exchange(running.client, vec![body(&large())]).await.is_ok());
}

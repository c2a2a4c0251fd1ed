//! SIGTERM.

use crate::calls::{LABEL, Open};
use crate::sidecar::{Sidecar, minilm};

#[tokio::test]
async fn a_request_in_progress_is_finished_and_the_socket_is_removed() {
    let model = minilm();
    let arguments = ["--model", model.to_str().unwrap(), "--drain-timeout", "10m"];
    let sidecar = Sidecar::start(tempfile::tempdir().unwrap(), &arguments, &[]).await;
    let mut request = Open::begin(sidecar.connect().await).await;

    sidecar.process.signal("TERM");
    sidecar.logged("stopping; requests in progress are finished").await;

    let set = request.send_body().await;
    assert!(set.iter().any(|(name, _)| name == LABEL), "{set:?}");
    drop(request);
    assert!(sidecar.process.ended().await.success(), "{}", sidecar.log());
    assert!(!sidecar.folder.path().join("socket").exists());
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_after_the_drain_timeout() {
    let model = minilm();
    let arguments = ["--model", model.to_str().unwrap(), "--drain-timeout", "100ms"];
    let sidecar = Sidecar::start(tempfile::tempdir().unwrap(), &arguments, &[]).await;
    let _request = Open::begin(sidecar.connect().await).await;
    sidecar.process.signal("TERM");
    assert!(sidecar.process.ended().await.success(), "{}", sidecar.log());
    sidecar.logged("closing connections that are still open").await;
}

//! SIGTERM.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use llm_router_test_support::process::Process;
use llm_router_test_support::time::poll;

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

/// A pipe at this path that blocks its reader: it is opened for writing, but nothing is written. Returns the writer's end once
/// somebody reads.
fn blocking_pipe(path: &Path) -> Receiver<File> {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    let (send, read) = channel();
    let path = path.to_owned();
    // A thread of its own: if nobody reads, it never ends.
    thread::spawn(move || send.send(File::create(path).unwrap()));
    read
}

#[tokio::test]
async fn a_load_that_never_ends_does_not_delay_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let reader = blocking_pipe(&folder.path().join("policy.yaml"));
    let model = minilm();
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-router-sidecar"));
    command.current_dir(folder.path()).args(["serve", "--listen", "unix:socket", "--admin", "127.0.0.1:0"]);
    command.args(["--policy", "policy.yaml", "--model", model.to_str().unwrap()]);
    let process = Process::spawn(&command, folder.path().join("log")).unwrap();
    let _pipe = poll(async || {
        process.assert_running();
        reader.try_recv()
    })
    .await;

    process.signal("TERM");
    let status = poll(async || process.exit_status().ok_or_else(|| process.output())).await;
    assert!(status.success(), "{}", process.output());
    assert!(!folder.path().join("socket").exists());
}

#[tokio::test]
async fn a_reload_that_never_ends_does_not_delay_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    let text = "sidecar: {cluster: c}\ndefault_policy: p\nmodels: {m: {cluster: c, model: m}}\n\
                policies: {p: {classifier: task, routes: {}, default: m}}\n";
    fs::write(&policy, text).unwrap();
    let model = minilm();
    let arguments = ["--model", model.to_str().unwrap(), "--policy", "policy.yaml"];
    let sidecar = Sidecar::start(folder, &arguments, &[]).await;
    fs::remove_file(&policy).unwrap();
    let reader = blocking_pipe(&policy);
    sidecar.process.signal("HUP");
    let _pipe = poll(async || reader.try_recv()).await;

    sidecar.process.signal("TERM");
    assert!(sidecar.process.ended().await.success(), "{}", sidecar.log());
}

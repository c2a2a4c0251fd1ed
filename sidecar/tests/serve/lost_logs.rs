//! A log that nobody reads stops neither reloads nor the shutdown.

use std::net::SocketAddr;
use std::process::Stdio;

use llm_router_test_support::time::{TIMEOUT, poll, within};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

use crate::sidecar::{metrics, minilm};

const POLICY: &str = "{sidecar: {cluster: c}, default_policy: p, models: {m: {cluster: a, model: m}}, \
                      policies: {p: {classifier: task, routes: {}, default: m}}}";

/// A sidecar whose log comes through a pipe, once it serves.
async fn start() -> (Child, BufReader<ChildStderr>, SocketAddr, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.yaml"), POLICY).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-router-sidecar"));
    command.args(["serve", "--listen", "unix:socket", "--admin", "127.0.0.1:0", "--log-format", "json"]);
    command.args(["--policy", "policy.yaml", "--model"]).arg(minilm()).current_dir(folder.path());
    // So that its log is more than a pipe holds.
    command.env("RUST_LOG", "trace").stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let serving = async {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(log.read_line(&mut line).await.unwrap() > 0, "it has ended");
            let entry: Value = serde_json::from_str(&line).unwrap();
            if entry["fields"]["message"] == "serving" {
                return entry["fields"]["admin"].as_str().unwrap().parse().unwrap();
            }
        }
    };
    let admin = within(TIMEOUT, serving).await;
    (child, log, admin, folder)
}

async fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([format!("-{name}"), id]).status().await.unwrap().success());
}

async fn count(admin: SocketAddr, name: &str) -> u64 {
    let metrics = metrics(admin).await;
    let value = metrics.lines().find_map(|line| line.strip_prefix(&format!("llm_router_sidecar_{name} ")));
    value.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

#[tokio::test]
async fn whether_the_logs_reader_is_gone_or_stuck_the_sidecar_reloads_and_ends() {
    for is_gone in [true, false] {
        let (mut child, log, admin, folder) = start().await;
        let stuck = (!is_gone).then_some(log);
        let lost = async || {
            // Each request is some lines; the pipe and the queue hold a thousand and more.
            for _ in 0..50 {
                metrics(admin).await;
            }
            match count(admin, "lost_log_lines_total").await {
                0 => Err("no line is lost"),
                _ => Ok(()),
            }
        };
        poll(lost).await;

        std::fs::write(folder.path().join("policy.yaml"), POLICY.replace("cluster: a", "cluster: b"))
            .unwrap();
        signal(&child, "HUP").await;
        let reloaded = async || match count(admin, r#"reloads_total{what="policy",outcome="applied"}"#).await
        {
            0 => Err("the policy was not reloaded"),
            _ => Ok(()),
        };
        poll(reloaded).await;

        signal(&child, "TERM").await;
        let status = within(TIMEOUT, child.wait()).await.unwrap();
        assert!(status.success(), "{status}");
        drop(stuck);
    }
}

//! `classify`: predictions for the rows of a file or a pipe.

use std::path::Path;
use std::process::{Output, Stdio};

use llm_router_test_support::time::{TIMEOUT, within};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::command::{output, sidecar_command};
use crate::sidecar::minilm;

async fn run(arguments: &[&str]) -> Output {
    let mut command = sidecar_command();
    command.args(arguments).args(["--device", "cpu", "--precision", "fp32"]);
    output(command.envs([("RUST_LOG", "warn"), ("RUST_BACKTRACE", "0")])).await
}

async fn stdout(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = run(arguments).await;
    assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// The error message of a command that fails.
async fn failure(arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = run(arguments).await;
    assert!(!status.success(), "{arguments:?}");
    String::from_utf8(stderr).unwrap()
}

/// A file in a folder.
fn write(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn rows_are_scored_in_their_order_with_the_fields_that_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    // Long ones among short ones, which are ready sooner.
    let rows: String = (0..60)
        .map(|id| {
            let text = "please write a story ".repeat(if id % 7 == 0 { 40 } else { 1 });
            format!("{{\"id\": {id}, \"prompt\": \"{text}\", \"source\": \"s\"}}\n")
        })
        .collect();
    let (model, rows) = (minilm(), write(folder.path(), "rows.jsonl", &rows));
    let arguments =
        ["classify", "--model", model.to_str().unwrap(), "--input", &rows, "--text-field", "prompt"];
    let lines =
        stdout(&[&arguments[..], &["--keep", "id,none", "--output", "jsonl", "--queue", "8"]].concat()).await;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<_> = lines.iter().map(|line| line["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (0..60).collect::<Vec<_>>());
    let heads = lines[0]["heads"].as_object().unwrap();
    assert!(
        heads["task"]["confidence"].as_f64().unwrap() > 0.0
            && lines[0]["read"]["tokens"].as_u64() > Some(100)
    );
    let keys: Vec<_> = lines[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["id", "none", "heads", "read"]);

    let all = stdout(&[&arguments[..], &["--keep", "*"]].concat()).await;
    let first: Value = serde_json::from_str(all.lines().next().unwrap()).unwrap();
    assert_eq!(first["source"], "s");
}

#[tokio::test]
async fn a_row_from_a_pipe_is_classified_before_the_next_one_arrives() {
    let mut command = sidecar_command();
    command.args(["classify", "--model", minilm().to_str().unwrap(), "--input", "-", "--device", "cpu"]);
    command.env("RUST_LOG", "warn").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut input = process.stdin.take().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    for text in ["hello", "Write a function"] {
        input.write_all(format!("{{\"text\": \"{text}\"}}\n").as_bytes()).await.unwrap();
        let line = within(TIMEOUT, lines.next_line()).await.unwrap().unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        assert!(line["heads"]["task"]["label"].is_string(), "{line}");
    }
    // The pipe is still open: the error must not wait for more.
    input.write_all(b"{\"txt\": 1}\n").await.unwrap();
    assert!(!within(TIMEOUT, process.wait()).await.unwrap().success());
}

#[tokio::test]
async fn an_invalid_row_is_reported_after_the_rows_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let rows =
        write(folder.path(), "rows.jsonl", "{\"text\": \"hello\"}\n\n{\"text\": 7}\n{\"text\": \"bye\"}\n");
    let model = minilm();
    let arguments = ["classify", "--model", model.to_str().unwrap(), "--input", &rows];
    let output = run(&arguments).await;
    assert!(!output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("rows.jsonl, line 3: the field \"text\" must be a string"), "{error}");

    let rows = write(folder.path(), "more.jsonl", "{\"text\": \"hello\", \"heads\": 1}\n");
    let arguments = ["classify", "--model", model.to_str().unwrap(), "--input", &rows];
    assert!(failure(&[&arguments[..], &["--keep", "*"]].concat()).await.contains("\"heads\" cannot be kept"));
    assert!(failure(&[&arguments[..], &["--output", "text"]].concat()).await.contains("--output text"));
    assert!(failure(&["classify", "--input", "no-such-file"]).await.contains("no-such-file"));
}

//! Evaluation and calibration: metrics compared with those of other programs, and commands on real files with the shipped
//! model.
// Clippy exempts test functions, but not the functions that they call.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod calibrate;
mod command;
mod measures;
mod sections;
#[path = "../common/time_limit.rs"]
mod time_limit;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use time_limit::TimeLimit;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The folder of the shipped model.
fn minilm() -> PathBuf {
    let folder = repository().join("models/minilm");
    assert!(
        folder.join("model.safetensors").is_file(),
        "no encoder in models/minilm: run scripts/setup --only minilm"
    );
    folder
}

/// A copy of the shipped model whose heads can be changed.
fn model() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in minilm().read_dir().unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "heads" {
            std::os::unix::fs::symlink(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    for head in minilm().join("heads").read_dir().unwrap() {
        let head = head.unwrap();
        let to = folder.path().join("heads").join(head.file_name());
        std::fs::create_dir_all(&to).unwrap();
        for file in head.path().read_dir().unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    folder
}

/// The rows of the quality gate of the head `task`.
fn gate() -> PathBuf {
    repository().join("models/data/gate/task.jsonl")
}

fn run(arguments: &[&str]) -> Output {
    let _limit = TimeLimit::start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-router-train"));
    command.args(arguments).args(["--device", "cpu", "--precision", "fp32"]).env("RUST_LOG", "warn");
    command.env("RUST_BACKTRACE", "0").output().unwrap()
}

fn stdout(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = run(arguments);
    assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout(&[arguments, &["--json"]].concat())).unwrap()
}

/// The error of a command that fails.
fn rejection(arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = run(arguments);
    assert!(!status.success(), "{arguments:?}");
    String::from_utf8(stderr).unwrap()
}

/// Writes a file into a folder, and returns its path.
fn write(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

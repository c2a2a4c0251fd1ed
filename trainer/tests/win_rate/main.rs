//! The command `win-rate` on graded prompts with the shipped encoder: what it writes is served, and what it rejects is not
//! written.
// Clippy exempts test functions, but not the functions that they call.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod accepted;
mod leaks;
mod prompts;
mod rejected;
#[path = "../common/time_limit.rs"]
mod time_limit;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use time_limit::TimeLimit;

/// A model folder with the small shipped encoder and no heads.
struct Workspace {
    folder: tempfile::TempDir,
}

impl Workspace {
    fn new() -> Self {
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/minilm").canonicalize().unwrap();
        assert!(
            files.join("model.safetensors").is_file(),
            "no encoder in models/minilm: run scripts/setup --only minilm"
        );
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("model")).unwrap();
        for name in ["config.json", "model.safetensors", "tokenizer.json"] {
            std::os::unix::fs::symlink(files.join(name), folder.path().join("model").join(name)).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs the command in the workspace on the model.
    fn win_rate(&self, arguments: &[&str]) -> Output {
        let _limit = TimeLimit::start();
        let mut command = Command::new(env!("CARGO_BIN_EXE_llm-router-train"));
        command.args(["win-rate", "--model", "model", "--device", "cpu"]).args(arguments);
        command.current_dir(self.folder.path());
        command.env("RUST_LOG", "warn").env("RUST_BACKTRACE", "0").output().unwrap()
    }
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

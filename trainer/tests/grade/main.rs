//! `grade` against a provider in this process, which records what it receives.
// Clippy exempts test functions, but not the functions that they call.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod budget;
mod code;
mod errors;
mod judge;
mod methods;
mod provider;
mod resume;
mod retries;
#[path = "../common/time_limit.rs"]
mod time_limit;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use provider::MockProvider;
use serde_json::Value;
use tempfile::TempDir;
use time_limit::TimeLimit;

/// A run of `grade` in its own folder, with the models `small` and `large`.
struct Run<'a> {
    provider: &'a MockProvider,
    /// The weak model, with its URL if that differs from the provider's.
    weak: String,
    /// The strong model.
    strong: String,
    folder: TempDir,
    _limit: TimeLimit,
}

impl<'a> Run<'a> {
    /// A run on these rows.
    fn new(provider: &'a MockProvider, rows: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rows.jsonl"), rows.join("\n")).unwrap();
        let [weak, strong] = ["small", "large"].map(str::to_owned);
        Self { provider, weak, strong, folder, _limit: TimeLimit::start() }
    }

    /// A run on this number of prompts. Each has the answer `yes`.
    fn on_prompts(provider: &'a MockProvider, count: usize) -> Self {
        let rows: Vec<_> =
            (0..count).map(|n| format!(r#"{{"text": "prompt {n}", "answer": "yes"}}"#)).collect();
        Self::new(provider, &rows.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command, with arguments behind those that name models and files.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llm-router-train"));
        command.args(["grade", "--weak", &self.weak, "--strong", &self.strong, "--retry-delay", "5ms"]);
        command.args(["--url", &self.provider.url()]);
        command.arg("--data").arg(self.path("rows.jsonl")).arg("--out").arg(self.path("graded.jsonl"));
        command.args(arguments).current_dir(self.folder.path());
        for variable in ["OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "RUST_LOG"] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs it to its end.
    fn output(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.command(arguments).output().unwrap())
    }

    /// Runs it, and returns what it prints.
    fn succeed(&self, arguments: &[&str]) -> Ended {
        let ended = self.output(arguments);
        assert!(ended.success, "{}", ended.errors);
        ended
    }

    /// Runs it, and returns the error.
    fn fail(&self, arguments: &[&str]) -> String {
        let ended = self.output(arguments);
        assert!(!ended.success, "{}", ended.printed);
        ended.errors
    }

    /// The graded rows.
    fn graded(&self) -> Vec<Value> {
        rows(&self.path("graded.jsonl"))
    }

    /// The rows without grades.
    fn ungraded(&self) -> Vec<Value> {
        rows(&self.path("graded.jsonl.ungraded.jsonl"))
    }
}

/// The output of an ended process.
struct Ended {
    success: bool,
    printed: String,
    errors: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { success: output.status.success(), printed: text(output.stdout), errors: text(output.stderr) }
    }
}

/// The rows of a file; none if there is no such file.
fn rows(path: &Path) -> Vec<Value> {
    let text = if path.exists() { std::fs::read_to_string(path).unwrap() } else { String::new() };
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The grades of the rows, each as weak and strong.
fn grades(rows: &[Value]) -> Vec<(f64, f64)> {
    rows.iter().map(|row| (row["weak"].as_f64().unwrap(), row["strong"].as_f64().unwrap())).collect()
}

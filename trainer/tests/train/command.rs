//! The command `train` on files in common formats.

use std::path::Path;
use std::process::{Command, Output};

use llm_router_classifier::model::Model;
use llm_router_classifier::model::prediction::Outputs;
use tch::Device;

use crate::heads::model;
use crate::time_limit::TimeLimit;
use crate::tiny::Workspace;

/// Runs `train`, with a pipe as standard error.
fn train(arguments: &[&str]) -> Output {
    let _limit = TimeLimit::start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-router-train"));
    command.args(["train", "--device", "cpu", "--threads", "1"]).args(arguments);
    command.env("RUST_LOG", "info").env("RUST_BACKTRACE", "0").output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The format of Banking77: `text,category`, CRLF line ends, and quotes around fields with commas or line ends.
#[test]
fn a_head_is_trained_from_csv_with_quoted_line_ends() {
    let (model, csv) = (model(), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/questions.csv"));
    assert!(std::fs::read_to_string(&csv).unwrap().contains("two weeks.\",card_arrival\r\n"));
    let output = train(
        &[
            &["--method", "head", "--head", "intent", "--model", text(model.path())][..],
            &["--data", text(&csv), "--label-field", "category", "--held-out", "0.1"],
        ]
        .concat(),
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let (loaded, tokenizer) = Model::load(model.path(), Device::Cpu).unwrap();
    for (question, label) in
        [("My card is not here yet", "card_arrival"), ("What rate do I get for dollars?", "exchange_rate")]
    {
        let tokens = tokenizer.tokenize(question).unwrap();
        let scores = loaded.classify(&[&tokens], Outputs::Scores).unwrap().remove(0).scores;
        assert_eq!(scores[0].top().unwrap().0, label);
    }
    let metrics = std::fs::read(model.path().join("heads/intent/metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_slice(&metrics).unwrap();
    assert_eq!(metrics["sources"][0]["rows"], 24);
}

#[test]
fn without_a_terminal_each_epoch_is_logged() {
    let workspace = Workspace::new("bert");
    let (base, out, rows) = (workspace.path("base"), workspace.path("out"), workspace.path("rows.jsonl"));
    let output = train(
        &[
            &["--head", "word", "--model", text(&base), "--data", text(&rows), "--out", text(&out)][..],
            &["--epochs", "2", "--precision", "fp32"],
        ]
        .concat(),
    );
    let log = stderr(&output);
    assert!(output.status.success(), "{log}");
    for line in ["9 steps per epoch; validation before training: ", "epoch 1: loss ", "epoch 2: loss "] {
        assert!(log.contains(line), "{log}");
    }
}

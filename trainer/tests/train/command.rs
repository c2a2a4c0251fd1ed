//! The command `train` on files as people have them.

use std::path::Path;
use std::process::{Command, Output};

use llm_router_classifier::model::Model;
use llm_router_classifier::model::prediction::Outputs;
use tch::Device;

use crate::heads::model;
use crate::tiny::Workplace;

/// Standard error is no terminal here.
fn train(arguments: &[&str]) -> Output {
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

/// As Banking77 is published: `text,category`, lines that end in CRLF, quotes around commas and line ends.
#[test]
fn a_csv_with_line_ends_in_quotes_becomes_a_head() {
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
fn without_a_terminal_every_epoch_is_a_line_of_the_log() {
    let workplace = Workplace::new("bert");
    let (base, out, rows) = (workplace.path("base"), workplace.path("out"), workplace.path("rows.jsonl"));
    let output = train(
        &[
            &["--head", "word", "--model", text(&base), "--data", text(&rows), "--out", text(&out)][..],
            &["--epochs", "2", "--precision", "fp32"],
        ]
        .concat(),
    );
    let log = stderr(&output);
    assert!(output.status.success(), "{log}");
    for line in ["9 steps an epoch; as it is: ", "epoch 1: loss ", "epoch 2: loss "] {
        assert!(log.contains(line), "{log}");
    }
}

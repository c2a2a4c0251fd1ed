//! Heads without value, and unusable rows.

use crate::prompts::{graded, hidden_subject};
use crate::{Workspace, stderr, stdout};

/// The files of a folder and of those in it, with their contents.
fn contents(folder: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false => found.push((path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    found.sort();
    found
}

#[test]
fn a_head_that_learns_noise_is_rejected_and_replaces_no_other() {
    let workspace = Workspace::new();
    workspace.write("good.jsonl", &hidden_subject());
    workspace.write("noise.jsonl", &graded(|_, _, random| random.f64() >= 0.5));
    stdout(&workspace.win_rate(&["--data", "good.jsonl", "--head", "mine"]));
    let before = contents(&workspace.path("model"));
    assert!(before.iter().any(|(path, _)| path.ends_with("heads/mine/head.safetensors")));

    let output = workspace.win_rate(&["--data", "noise.jsonl", "--head", "mine", "--report", "report"]);
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(
        error.contains("no head is written: the head does not beat prompt length beyond chance: APGR"),
        "{error}"
    );
    assert!(contents(&workspace.path("model")) == before, "the model's folder has changed");
    let report = workspace.read("report/report.md");
    assert!(report.contains("**Rejected:** the head does not beat prompt length"), "{report}");

    let other = workspace.win_rate(&["--data", "noise.jsonl", "--head", "mine", "--out", "elsewhere"]);
    assert!(!other.status.success() && !workspace.path("elsewhere").exists());
    let report = stdout(&workspace.win_rate(&["--data", "noise.jsonl", "--head", "mine", "--report-only"]));
    assert!(report.contains("**Rejected:**"), "{report}");
    assert!(contents(&workspace.path("model")) == before, "a report changes nothing");
}

#[test]
fn a_head_that_learns_length_is_rejected() {
    let workspace = Workspace::new();
    let lengthened = |text: &str| text.len() > 27;
    workspace.write("length.jsonl", &graded(|text, _, _| !lengthened(text)));
    let output = workspace.win_rate(&["--data", "length.jsonl", "--head", "mine"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("does not beat prompt length"), "{}", stderr(&output));
    assert!(!workspace.path("model/heads").exists());
}

#[test]
fn invalid_input_is_rejected_before_a_head_is_fitted() {
    let workspace = Workspace::new();
    workspace.write("good.jsonl", &hidden_subject());
    workspace.write("few.jsonl", &graded(|_, about_planet, random| !about_planet || random.f64() > 0.1));
    workspace.write("ungraded.jsonl", "{\"text\": \"hi\", \"label\": \"x\"}\n");
    workspace.write(
        "policy.yaml",
        "sidecar: {cluster: c}\ndefault_policy: p\nmodels: {a: {cluster: c, model: a}, b: {cluster: c, model: b}}\n\
         policies: {p: {classifier: mood, bands: [{up_to: 0.5, model: a}, {model: b}]}}\n",
    );
    for (arguments, wrong) in [
        (
            &["--data", "few.jsonl", "--head", "x"][..],
            "no head is fitted: the models have different grades on",
        ),
        (
            &["--data", "ungraded.jsonl", "--head", "x"],
            "ungraded.jsonl, line 1: the field \"weak\" is missing",
        ),
        (&["--data", "good.jsonl"], "the head needs a name: --head NAME, or the models' names"),
        (
            &["--data", "good.jsonl", "--weak-name", "通义", "--strong-name", "large"],
            "no name for the head can be made of 通义 and large: each needs a letter of a-z or a digit. Use --head",
        ),
        (&["--data", "good.jsonl", "--head", "Win Rate"], "a head's name must be of a-z, 0-9 and '-'"),
        (
            &["--data", "good.jsonl", "--head", "x", "--layer", "99"],
            "the encoder has 6 layers, so there is no layer 99",
        ),
        (&["--data", "good.jsonl", "--policy", "policy.yaml"], "which of a, b is the strong model?"),
        (&["--data", "good.jsonl", "--policy", "none.yaml"], "No such file"),
        (&["--data", "good.jsonl", "--weak-name", "a"], "--strong-name"),
    ] {
        let output = workspace.win_rate(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(stderr(&output).contains(wrong), "{arguments:?}: {}", stderr(&output));
    }
    assert!(!workspace.path("model/heads").exists());
}

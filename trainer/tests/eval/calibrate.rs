//! `calibrate` on real rows with the shipped model.

use std::path::Path;

use serde_json::Value;
use tch::Tensor;

use crate::{gate, json, minilm, model, rejection, stdout, write};

/// Adds a head that predicts a score of two dimensions, with random weights.
fn add_score_head(model: &Path) {
    let folder = model.join("heads/hardness");
    std::fs::create_dir_all(&folder).unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    let weight: Vec<f32> = (0..2 * 384).map(|_| 1.5 * (random.f32() - 0.5)).collect();
    let tensors = [
        ("linear.weight", Tensor::from_slice(&weight).view([2, 384])),
        ("linear.bias", Tensor::from_slice(&[0.0f32, 0.0])),
    ];
    Tensor::write_safetensors(&tensors, folder.join("head.safetensors")).unwrap();
    std::fs::write(folder.join("labels.json"), r#"["x", "y"]"#).unwrap();
    let shipped: Value =
        serde_json::from_slice(&std::fs::read(model.join("heads/task/head.json")).unwrap()).unwrap();
    let mut settings = serde_json::json!({"layer": 4, "pooling": "mean", "kind": "score"});
    if let Some(adapter) = shipped.get("adapter") {
        settings["adapter"] = adapter.clone();
    }
    std::fs::write(folder.join("head.json"), settings.to_string()).unwrap();
}

#[test]
fn each_output_of_a_score_has_its_own_temperature() {
    let model = model();
    add_score_head(model.path());
    let rows: String = (0..40)
        .map(|row| {
            format!(
                "{{\"text\": \"prompt {row}\", \"x\": 0.5, \"y\": {}}}\n",
                if row % 2 == 0 { 1 } else { 0 }
            )
        })
        .collect();
    let rows = write(model.path(), "rows.jsonl", &rows);
    let arguments = ["--model", model.path().to_str().unwrap(), "--head", "hardness", "--data", &rows];
    let error = |name: &str| {
        let found = json(&[&["eval"], &arguments[..]].concat());
        let dimensions = found["score"]["dimensions"].as_array().unwrap().clone();
        dimensions.iter().find(|dimension| dimension["name"] == name).unwrap()["mean_absolute_error"]
            .as_f64()
            .unwrap()
    };
    let before = error("x");
    let found = json(&[&["calibrate", "temperature"], &arguments[..]].concat());
    let temperatures: Vec<f64> = serde_json::from_value(found["temperature"].clone()).unwrap();
    // The truth of x is always 0.5, which a high temperature comes close to.
    assert!(temperatures.len() == 2 && temperatures[0] > 5.0, "{found}");
    assert!(error("x") < before / 2.0, "{} {before}", error("x"));
}

#[test]
fn a_temperature_is_written_and_improves_confidences() {
    let model = model();
    let (folder, rows) = (model.path().to_str().unwrap(), gate());
    let rows = ["--model", folder, "--head", "task", "--data", rows.to_str().unwrap()];
    // Makes the head overconfident.
    let settings = model.path().join("heads/task/head.json");
    let mut head: serde_json::Value = serde_json::from_slice(&std::fs::read(&settings).unwrap()).unwrap();
    head["temperature"] = 0.2.into();
    std::fs::write(&settings, head.to_string()).unwrap();
    let measure = || json(&[&["eval"], &rows[..]].concat())["labels"].clone();
    let before = measure();

    let dry_run = json(&[&["calibrate", "temperature", "--dry-run"], &rows[..]].concat());
    assert_eq!(measure(), before, "--dry-run changes nothing");
    let found = json(&[&["calibrate", "temperature"], &rows[..]].concat());
    assert_eq!(found, dry_run);
    let after = measure();

    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    assert!(number(&found["temperature"]) > 0.5, "{found}");
    assert!((number(&before["ece"]) - number(&found["ece_before"])).abs() < 1e-3, "{found}");
    assert!((number(&after["ece"]) - number(&found["ece_after"])).abs() < 1e-3, "{found}");
    assert!(number(&after["log_loss"]) < number(&before["log_loss"]));
    assert!(number(&after["ece"]) < number(&before["ece"]));
    assert_eq!(after["accuracy"], before["accuracy"], "the most likely labels stay the same");
    let read = |name| std::fs::read_to_string(model.path().join("heads/task").join(name)).unwrap();
    let (ece, card) = (number(&found["ece_after"]), read("README.md"));
    assert!(card.contains(&format!("(ECE) is now {ece:.3}.")), "{card}");
    assert!(card.contains("\nllm-router-train calibrate temperature --model"), "{card}");
    let metrics: serde_json::Value = serde_json::from_str(&read("metrics.json")).unwrap();
    assert_eq!(metrics["calibration"]["temperature"], found["temperature"]);
    let again = json(&[&["calibrate", "temperature"], &rows[..]].concat());
    assert!((number(&again["temperature"]) / number(&found["temperature"]) - 1.0).abs() < 0.01, "{again}");
}

#[test]
fn a_threshold_gives_the_wanted_fraction_of_strong_calls() {
    let (folder, rows) = (minilm(), gate());
    let arguments = [
        &["calibrate", "threshold", "--model", folder.to_str().unwrap(), "--head", "task"],
        &["--data", rows.to_str().unwrap(), "--positive", "Code Generation", "Other"][..],
    ]
    .concat();
    for when in ["low", "high"] {
        let found = json(&[&arguments[..], &["--strong-fraction", "0.3", "--strong-when", when]].concat());
        assert!((found["strong_fraction"].as_f64().unwrap() - 0.3).abs() < 0.01, "{found}");
        assert_eq!(found["quality"], serde_json::Value::Null, "without grades the quality is unknown");
    }
    let text = stdout(&[&arguments[..], &["--strong-fraction", "0.3", "--strong-when", "high"]].concat());
    assert!(text.contains("30.0 % strong calls of 120 rows"), "{text}");
    assert!(text.contains("scores up to it go to WEAK, others to STRONG"), "{text}");
    assert!(text.contains("not for a policy's bands") && !text.contains("in the policy"), "{text}");
}

#[test]
fn a_threshold_of_a_score_is_printed_as_bands_in_its_direction() {
    let (folder, rows) = (minilm(), gate());
    let arguments =
        ["calibrate", "threshold", "--model", folder.to_str().unwrap(), "--data", rows.to_str().unwrap()];
    let arguments = [&arguments[..], &["--strong-fraction", "0.3"]].concat();
    for (head, when, bands) in [
        ("complexity", "high", "model: WEAK }, { model: STRONG }]"),
        ("win-rate", "low", "model: STRONG }, { model: WEAK }]"),
    ] {
        let text = stdout(&[&arguments[..], &["--head", head, "--strong-when", when]].concat());
        assert!(text.contains(&format!("classifier: {head}\n")) && text.contains(bands), "{text}");
        let error = rejection(&[&arguments[..], &["--head", head]].concat());
        assert!(
            error.contains(&format!("which scores of head \"{head}\" go to the strong model?")),
            "{error}"
        );
    }
}

#[test]
fn a_temperature_is_not_fitted_to_rows_about_another_head() {
    let model = model();
    add_score_head(model.path());
    let numbers = write(model.path(), "numbers.jsonl", "{\"text\": \"prompt\", \"reasoning\": 0.5}\n");
    let labels = write(model.path(), "labels.jsonl", "{\"text\": \"prompt\", \"label\": \"math\"}\n");
    for (kind, rows, reason) in [
        ("score", numbers, "the rows have no number for any output of the head, [\"x\", \"y\"]"),
        ("multi-label", labels, "the head has no label \"math\""),
    ] {
        let settings = model.path().join("heads/hardness/head.json");
        let mut head: Value = serde_json::from_slice(&std::fs::read(&settings).unwrap()).unwrap();
        head["kind"] = kind.into();
        std::fs::write(&settings, head.to_string()).unwrap();
        let arguments = ["--model", model.path().to_str().unwrap(), "--head", "hardness", "--data", &rows];
        let error = rejection(&[&["calibrate", "temperature"], &arguments[..]].concat());
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_threshold_keeps_the_wanted_quality() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [
        ("Write a Python function that sorts a list.", 0),
        ("Write a SQL query that counts all users.", 0),
        ("Hi there, how are you?", 1),
        ("Good morning!", 1),
    ];
    let rows: String = rows
        .iter()
        .map(|(text, weak)| format!("{{\"text\": \"{text}\", \"weak\": {weak}, \"strong\": 1}}\n"))
        .collect();
    let (model, rows) = (minilm(), write(folder.path(), "rows.jsonl", &rows));
    let arguments = [
        &["calibrate", "threshold", "--model", model.to_str().unwrap(), "--head", "task", "--data", &rows],
        &["--positive", "Code Generation", "--strong-when", "high", "--quality"][..],
    ]
    .concat();
    for (wanted, fraction, quality) in [("0.5", 0.0, 0.5), ("0.7", 0.25, 0.75), ("1", 0.5, 1.0)] {
        let found = json(&[&arguments[..], &[wanted]].concat());
        let is = (found["strong_fraction"].as_f64().unwrap(), found["quality"].as_f64().unwrap());
        assert_eq!(is, (fraction, quality), "{found}");
    }
    assert!(rejection(&[&arguments[..], &["1.5"]].concat()).contains("not a number from 0 to 1"));
}

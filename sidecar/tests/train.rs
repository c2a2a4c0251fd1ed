//! Training from files to a head that classifies, on a tiny made-up set.
// Only functions marked as tests are exempt by themselves, not what they call.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use llm_router_sidecar::model::scores::Want;
use llm_router_sidecar::model::{Model, load_encoder};
use llm_router_sidecar::train::{Data, Fields, Report, Task, save, train};
use tch::Device;

const FOODS: [&str; 10] =
    ["soup", "bread", "rice", "noodles", "salad", "curry", "pancakes", "cheese", "apples", "stew"];
const PLANETS: [&str; 10] =
    ["Mercury", "Venus", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune", "Pluto", "Ceres", "Titan"];

fn encoder_files() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/minilm").canonicalize().unwrap();
    assert!(folder.join("model.safetensors").is_file(), "no encoder in models/minilm: run scripts/setup");
    folder
}

/// A model's folder with the real encoder and no heads.
fn model() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::os::unix::fs::symlink(encoder_files().join(name), folder.path().join(name)).unwrap();
    }
    folder
}

fn write_rows(folder: &Path) -> PathBuf {
    let row = |text: String, label: &str| serde_json::json!({"text": text, "label": label}).to_string();
    let foods = FOODS.iter().flat_map(|food| {
        [row(format!("How do I cook {food}?"), "kitchen"), row(format!("A recipe for {food}"), "kitchen")]
    });
    let planets = PLANETS.iter().flat_map(|planet| {
        [
            row(format!("How far away is {planet}?"), "astronomy"),
            row(format!("The orbit of {planet}"), "astronomy"),
        ]
    });
    let path = folder.join("rows.jsonl");
    std::fs::write(&path, foods.chain(planets).collect::<Vec<_>>().join("\n")).unwrap();
    path
}

fn train_in(model: &Path) -> (PathBuf, Report) {
    let fields = Fields { text: "text".into(), label: "label".into(), renames: [].into() };
    let data = Data::read(&[write_rows(model)], &fields, &Data::default()).unwrap();
    let task = Task { head: "topic", data: &data, validation: &Data::default(), layer: 6, seed: 3 };
    let (encoder, tokenizer) = load_encoder(model, Device::Cpu).unwrap();
    let (head, report) = train(&encoder, &tokenizer, &task).unwrap();
    (save(model, &head, &report, "llm-router-sidecar train ...").unwrap(), report)
}

#[test]
fn a_trained_head_classifies_what_it_has_not_seen() {
    let model = model();
    let (folder, report) = train_in(model.path());
    assert_eq!(report.held_out.rows, 4);
    assert_eq!((report.held_out.accuracy, report.held_out.majority_accuracy), (1.0, 0.5));

    let (loaded, tokenizer) = Model::load(model.path(), Device::Cpu).unwrap();
    for (text, expected) in [("baking a cake", "kitchen"), ("the rings around the Sun", "astronomy")] {
        let scores = {
            let tokens = tokenizer.tokenize(text).unwrap();
            loaded.classify(&[&tokens], Want::Scores).unwrap().remove(0).scores
        };
        assert_eq!(&*scores[0].head, "topic");
        assert_eq!(scores[0].top().unwrap().0, expected, "{text}");
        assert!((scores[0].iter().map(|(_, confidence)| confidence).sum::<f32>() - 1.0).abs() < 1e-5);
    }

    let card = std::fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(card.contains("llm-router-sidecar train ...") && card.contains("| kitchen | 2 |"), "{card}");
    let metrics = std::fs::read(folder.join("metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_slice(&metrics).unwrap();
    assert_eq!(metrics["held_out"]["accuracy"], 1.0);
}

#[test]
fn the_same_data_and_seed_give_the_same_bytes() {
    let files = || {
        let model = model();
        let (folder, report) = train_in(model.path());
        let read = |name| std::fs::read(folder.join(name)).unwrap();
        (read("head.safetensors"), read("labels.json"), report.trials)
    };
    assert_eq!(files(), files());
}

#[test]
fn validation_must_not_have_labels_of_its_own() {
    let model = model();
    let fields = Fields { text: "text".into(), label: "label".into(), renames: [].into() };
    let data = Data::read(&[write_rows(model.path())], &fields, &Data::default()).unwrap();
    let path = model.path().join("validation.jsonl");
    std::fs::write(&path, r#"{"text": "hm", "label": "music"}"#).unwrap();
    let validation = Data::read(&[path], &fields, &Data::default()).unwrap();
    let task = Task { head: "topic", data: &data, validation: &validation, layer: 6, seed: 3 };
    let (encoder, tokenizer) = load_encoder(model.path(), Device::Cpu).unwrap();
    let error = train(&encoder, &tokenizer, &task).unwrap_err().to_string();
    assert!(error.contains("\"music\""), "{error}");
}

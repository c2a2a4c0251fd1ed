//! Heads on the frozen encoder.

use std::path::{Path, PathBuf};
use std::time::Instant;

use llm_router_classifier::device::Compute;
use llm_router_classifier::model::Model;
use llm_router_classifier::model::prediction::Outputs;
use llm_router_classifier::model::text_features::TextFeature;
use llm_router_trainer::train::{
    FineTuneSettings, HeadPlan, Job, Plan, Quality, Source, StopSignal, TrainingDetails, TrainingReport,
    load, train_heads,
};
use tch::Device;

use crate::time_limit::TimeLimit;
use crate::tiny::{Workspace, lora};

const FOODS: [&str; 10] =
    ["soup", "bread", "rice", "noodles", "salad", "curry", "pancakes", "cheese", "apples", "stew"];
const PLANETS: [&str; 10] =
    ["Mercury", "Venus", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune", "Pluto", "Ceres", "Titan"];

/// A model folder with the shipped encoder and no heads.
pub(crate) fn model() -> tempfile::TempDir {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/minilm").canonicalize().unwrap();
    assert!(
        files.join("model.safetensors").is_file(),
        "no encoder in models/minilm: run scripts/setup --only minilm"
    );
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::os::unix::fs::symlink(files.join(name), folder.path().join(name)).unwrap();
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

fn job(model: &Path) -> Job<'_> {
    Job {
        model,
        out: model,
        compute: Compute::from(Device::Cpu),
        threads: 1,
        seed: 3,
        command: "llm-router-train train ...",
        started: Instant::now(),
    }
}

fn train_in(model: &Path) -> TrainingReport {
    let _limit = TimeLimit::start();
    let data = vec![Source::from(write_rows(model))];
    let head = HeadPlan { held_out: Some(0.1), ..HeadPlan::new("topic", data) };
    let tasks = load(&Plan { heads: vec![head] }, 3).unwrap();
    train_heads(&tasks, &job(model)).unwrap().remove(0)
}

#[test]
fn a_trained_head_classifies_unseen_texts() {
    let model = model();
    let report = train_in(model.path());
    let Some(Quality::SingleLabel(held_out)) = &report.held_out else { panic!("nothing held out") };
    assert_eq!((held_out.rows, held_out.accuracy, held_out.majority_accuracy), (4, 1.0, 0.5));

    let (loaded, tokenizer) = Model::load(model.path(), Device::Cpu).unwrap();
    for (text, expected) in [("baking a cake", "kitchen"), ("the rings around the Sun", "astronomy")] {
        let tokens = tokenizer.tokenize(text).unwrap();
        let scores = loaded.classify(&[&tokens], Outputs::Scores).unwrap().remove(0).scores;
        assert_eq!(&*scores[0].head, "topic");
        assert_eq!(scores[0].top().unwrap().0, expected, "{text}");
        assert!((scores[0].iter().map(|(_, confidence)| confidence).sum::<f32>() - 1.0).abs() < 1e-5);
    }

    let read = |name| std::fs::read_to_string(model.path().join("heads/topic").join(name)).unwrap();
    let card = read("README.md");
    assert!(card.contains("llm-router-train train ...") && card.contains("| kitchen | 2 |"), "{card}");
    let metrics: serde_json::Value = serde_json::from_str(&read("metrics.json")).unwrap();
    assert_eq!(metrics["held_out"]["accuracy"], 1.0);
}

#[test]
fn the_same_data_and_seed_give_the_same_bytes() {
    let files = || {
        let model = model();
        let TrainingDetails::Head { trials, .. } = train_in(model.path()).training else {
            panic!("not a head")
        };
        let read = |name| std::fs::read(model.path().join("heads/topic").join(name)).unwrap();
        (read("head.safetensors"), read("labels.json"), trials)
    };
    assert!(files() == files(), "the files differ");
}

#[test]
fn a_constant_feature_is_rejected() {
    let model = model();
    let data = vec![Source::from(write_rows(model.path()))];
    let features = vec![TextFeature::LogLength, TextFeature::CodeMarks];
    let tasks =
        load(&Plan { heads: vec![HeadPlan { features, ..HeadPlan::new("topic", data) }] }, 3).unwrap();
    let error = train_heads(&tasks, &job(model.path())).unwrap_err().to_string();
    assert!(
        error.starts_with("head \"topic\": features: code_marks is the same in all 36 training texts"),
        "{error}"
    );
}

#[test]
fn validation_data_must_not_have_additional_labels() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("validation.jsonl");
    std::fs::write(&path, r#"{"text": "hm", "label": "music"}"#).unwrap();
    let data = vec![Source::from(write_rows(folder.path()))];
    let head = HeadPlan { validation: vec![Source::from(path)], ..HeadPlan::new("topic", data) };
    let error = format!("{:#}", load(&Plan { heads: vec![head] }, 3).unwrap_err());
    assert!(error.contains("\"music\""), "{error}");
}

#[test]
fn a_folder_with_heads_of_another_encoder_is_left_alone() {
    let workspace = Workspace::new("bert");
    workspace.train("out", &FineTuneSettings { epochs: 1, ..lora() }, false, &StopSignal::default()).unwrap();
    let data = vec![Source::from(workspace.path("rows.jsonl"))];
    let tasks = load(&Plan { heads: vec![HeadPlan::new("later", data)] }, 3).unwrap();
    let adapter = || workspace.read("out/adapter_model.safetensors");
    let before = adapter();
    let (base, out) = (workspace.path("base"), workspace.path("out"));
    let error = train_heads(&tasks, &Job { out: &out, ..job(&base) }).unwrap_err().to_string();
    assert!(error.contains("another encoder") && error.contains("small, word"), "{error}");
    assert!(before == adapter() && !workspace.path("out/heads/later").exists());
    // Its own encoder may get more heads.
    train_heads(&tasks, &Job { out: &workspace.path("new"), ..job(&out) }).unwrap();
    train_heads(&tasks, &Job { out: &workspace.path("new"), ..job(&out) }).unwrap();
}

#[test]
fn heads_can_be_added_to_an_adapted_encoder() {
    let workspace = Workspace::new("bert");
    workspace.train("out", &FineTuneSettings { epochs: 1, ..lora() }, false, &StopSignal::default()).unwrap();
    let data = vec![Source::from(workspace.path("rows.jsonl"))];
    let tasks = load(&Plan { heads: vec![HeadPlan::new("later", data)] }, 3).unwrap();
    train_heads(&tasks, &job(&workspace.path("out"))).unwrap();
    let (model, _) = Model::load(&workspace.path("out"), Device::Cpu).unwrap();
    assert_eq!(model.heads().collect::<Vec<_>>(), ["later", "small", "word"]);
}

//! A model in the layout of NVIDIA's prompt-task-and-complexity-classifier, with all its heads.

use std::collections::HashMap;

use llm_router_classifier::model::Model;
use llm_router_classifier::model::prediction::{HeadOutput, Outputs, Prediction};
use llm_router_classifier::model::tokenizer::Tokens;
use serde::Deserialize;
use tch::Device;

use super::{folder, reference};

/// The largest difference allowed between two scores: they are rounded to four digits.
const TOLERANCE: f32 = 1.5e-4;

/// Our names of the dimensions, and the checkpoint's.
const DIMENSIONS: [(&str, &str); 7] = [
    ("creativity", "creativity_scope"),
    ("reasoning", "reasoning"),
    ("contextual_knowledge", "contextual_knowledge"),
    ("few_shots", "number_of_few_shots"),
    ("domain_knowledge", "domain_knowledge"),
    ("no_label_reason", "no_label_reason"),
    ("constraints", "constraint_ct"),
];

/// The outputs of the published computation for a text.
#[derive(Deserialize)]
struct Expected {
    task: String,
    confidence: f32,
    complexity: f32,
    #[serde(flatten)]
    dimensions: HashMap<String, f32>,
}

fn expected() -> Vec<Expected> {
    serde_json::from_str(include_str!("../fixtures/encoders/nvidia/answers.json")).unwrap()
}

/// The texts of the reference, as a client would send them.
fn texts() -> Vec<String> {
    let word = |id: &i64| format!("t{id}");
    let text = |tokens: &Tokens| tokens.ids().iter().map(word).collect::<Vec<_>>().join(" ");
    reference("nvidia").texts.iter().map(text).collect()
}

fn assert_near(ours: f32, theirs: f32, what: &str) {
    assert!((ours - theirs).abs() <= TOLERANCE, "{what}: {ours} instead of {theirs}");
}

fn assert_as_published(answer: &Prediction, expected: &Expected) {
    let [complexity, task]: &[HeadOutput; 2] = answer.scores.as_slice().try_into().unwrap();
    assert_eq!((&*complexity.head, &*task.head), ("complexity", "task"));
    let (label, confidence) = task.top().unwrap();
    assert_eq!(label, expected.task);
    assert_near(confidence, expected.confidence, "confidence");
    assert_near(complexity.score.unwrap(), expected.complexity.min(1.0), "complexity");
    let dimensions: Vec<_> = complexity.iter().collect();
    assert_eq!(dimensions.len(), DIMENSIONS.len());
    for ((name, ours), (our_name, their_name)) in dimensions.into_iter().zip(DIMENSIONS) {
        assert_eq!(name, our_name);
        assert_near(ours, expected.dimensions[their_name].min(1.0), name);
    }
}

#[test]
fn every_head_matches_the_published_computation_for_a_single_text() {
    let (model, tokenizer) = Model::load(&folder("nvidia"), Device::Cpu).unwrap();
    for (text, expected) in texts().iter().zip(expected()) {
        let answers = model.classify(&[&tokenizer.tokenize(text).unwrap()], Outputs::Scores).unwrap();
        assert_as_published(&answers[0], &expected);
    }
}

#[test]
fn every_head_predicts_the_same_in_a_batch() {
    let (model, tokenizer) = Model::load(&folder("nvidia"), Device::Cpu).unwrap();
    let texts: Vec<_> = texts().iter().map(|text| tokenizer.tokenize(text).unwrap()).collect();
    let answers = model.classify(&texts.iter().collect::<Vec<_>>(), Outputs::Scores).unwrap();
    for ((answer, expected), text) in answers.iter().zip(expected()).zip(&texts) {
        assert_as_published(answer, &expected);
        assert_eq!((answer.read.tokens, answer.read.of), (text.ids().len(), text.ids().len()));
    }
}

#[test]
fn a_wrong_config_names_the_field() {
    let published = std::fs::read_to_string(folder("nvidia").join("config.json")).unwrap();
    let published: serde_json::Value = serde_json::from_str(&published).unwrap();
    for (path, value, named) in [
        ("/target_sizes/reasoning", serde_json::json!(3), "head_2.fc.weight"),
        ("/weights_map/reasoning", serde_json::json!([1]), "weights_map.reasoning has 1 weights"),
        ("/divisor_map/reasoning", serde_json::json!(0), "divisor_map.reasoning"),
        ("/task_type_map", serde_json::json!({"0": "Chatbot"}), "task_type_map has no label 1"),
        ("/weights_map", serde_json::json!(7), "config.json"),
    ] {
        let model = tempfile::tempdir().unwrap();
        for name in ["model.safetensors", "tokenizer.json"] {
            std::os::unix::fs::symlink(folder("nvidia").join(name), model.path().join(name)).unwrap();
        }
        let mut config = published.clone();
        *config.pointer_mut(path).unwrap() = value;
        std::fs::write(model.path().join("config.json"), config.to_string()).unwrap();
        let error = format!("{:#}", Model::load(model.path(), Device::Cpu).map(|_| ()).unwrap_err());
        assert!(error.contains(named), "{error}");
    }
}

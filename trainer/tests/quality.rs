//! The quality gate. On small sets of rows, and in each precision of a CPU, the shipped models must reach about the quality
//! in their cards, and predict the same for a text alone and in a batch.
//!
//! `models/MODEL/gate.json` has the thresholds for each set, which are slightly below the card's figures. Sets without
//! thresholds are not checked. `models/data/gate/SET.jsonl` has the rows (models/data/gate/README.md).
// Clippy exempts test functions, but not the functions that they call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use llm_router_classifier::device::{Compute, Precision};
use llm_router_classifier::model::Model;
use llm_router_classifier::model::head_files::SettingsFile;
use llm_router_classifier::model::prediction::{HeadOutput, Outputs, Prediction};
use llm_router_classifier::model::tokenizer::{Tokenizer, Tokens};
use llm_router_classifier::records::{Record, read_all};
use llm_router_trainer::eval::{Detection, Fields, Score, SingleLabel};
use serde::Deserialize;
use tch::Device;

#[path = "common/time_limit.rs"]
mod time_limit;

use time_limit::TimeLimit;

/// Texts per forward pass.
const BATCH: usize = 16;

/// The thresholds of a set of rows. Absent ones are not checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gate {
    /// The head, if the set has another name.
    head: Option<String>,
    /// Minimum accuracy.
    accuracy: Option<f64>,
    /// Maximum expected calibration error.
    ece: Option<f64>,
    /// Minimum rank correlation of the score.
    spearman: Option<f64>,
    /// Labels that must be distinguished from all others with at least `auroc`.
    #[serde(default)]
    positive: Vec<String>,
    auroc: Option<f64>,
    /// Minimum fraction of the most likely labels that are the same in bf16 and fp32, and in a batch and alone. Scores are
    /// the same if they differ by at most [`SAME_SCORES`].
    agreement: f64,
}

/// Maximum difference of two scores, and of probabilities on average over all labels and rows.
const SAME_SCORES: f64 = 0.05;
const SAME_PROBABILITIES: f64 = 0.02;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn model_folder(model: &str) -> PathBuf {
    let folder = repository().join("models").join(model);
    assert!(
        folder.join("model.safetensors").is_file(),
        "no encoder in models/{model}: run scripts/setup --only encoder minilm"
    );
    folder
}

fn gates(model: &str) -> BTreeMap<String, Gate> {
    let path = repository().join("models").join(model).join("gate.json");
    let gates: BTreeMap<String, Gate> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(!gates.is_empty());
    gates
}

fn rows(set: &str) -> Vec<Record> {
    let rows = read_all(&[repository().join(format!("models/data/gate/{set}.jsonl"))]).unwrap();
    assert!(rows.len() >= 50, "{set} has only {} rows", rows.len());
    rows
}

fn fields() -> Fields {
    Fields { text: "text".into(), label: "label".into(), renames: BTreeMap::new() }
}

/// A model that classifies texts alone, or in batches of similar length.
struct Classifier {
    model: Model,
    tokenizer: Tokenizer,
}

impl Classifier {
    fn load(folder: &Path, precision: Precision) -> Self {
        tch::set_num_threads(1);
        let (model, tokenizer) = Model::load(folder, Compute { device: Device::Cpu, precision }).unwrap();
        Self { model, tokenizer }
    }

    fn tokens(&self, rows: &[Record]) -> Vec<Tokens> {
        rows.iter().map(|row| self.tokenizer.tokenize(row.text("text").unwrap()).unwrap()).collect()
    }

    fn alone(&self, rows: &[Record]) -> Vec<Prediction> {
        let predict = |tokens: &Tokens| self.model.classify(&[tokens], Outputs::Scores).unwrap().remove(0);
        self.tokens(rows).iter().map(predict).collect()
    }

    fn batched(&self, rows: &[Record]) -> Vec<Prediction> {
        let tokens = self.tokens(rows);
        let mut order: Vec<_> = (0..tokens.len()).collect();
        order.sort_by_key(|&row| tokens[row].ids().len());
        let mut all = vec![Prediction::default(); tokens.len()];
        for batch in order.chunks(BATCH) {
            let texts: Vec<_> = batch.iter().map(|&row| &tokens[row]).collect();
            let predictions = self.model.classify(&texts, Outputs::Scores).unwrap();
            batch.iter().zip(predictions).for_each(|(&row, prediction)| all[row] = prediction);
        }
        all
    }
}

fn of_head(predictions: &[Prediction], head: &str) -> Vec<HeadOutput> {
    let find =
        |prediction: &Prediction| prediction.scores.iter().find(|scores| &*scores.head == head).cloned();
    predictions.iter().map(|it| find(it).unwrap_or_else(|| panic!("no head {head:?} is shipped"))).collect()
}

fn assert_good(set: &str, gate: &Gate, weights: &[f32], rows: &[Record], scores: &[HeadOutput], how: &str) {
    let at_least = |name: &str, is: f64, least: Option<f64>| {
        println!("{set}, {how}: {name} {is:.3}");
        assert!(least.is_none_or(|least| is >= least), "{set}, {how}: {name} {is:.3} is under {least:?}");
    };
    if gate.accuracy.is_some() || gate.ece.is_some() {
        let measured = SingleLabel::compute(rows, &fields(), scores).unwrap();
        at_least("accuracy", measured.agreement.accuracy, gate.accuracy);
        let ece = measured.calibration.ece;
        println!("{set}, {how}: ECE {ece:.3}");
        assert!(gate.ece.is_none_or(|most| ece <= most), "{set}, {how}: ECE {ece:.3} is over {:?}", gate.ece);
    }
    if gate.spearman.is_some() {
        let measured = Score::compute(rows, scores, "label", Some(weights)).unwrap();
        at_least("Spearman", measured.dimensions.last().unwrap().spearman.unwrap(), gate.spearman);
    }
    if gate.auroc.is_some() {
        let measured = Detection::compute(rows, &fields(), scores, &gate.positive, 0.01).unwrap();
        at_least("AUROC", measured.auroc, gate.auroc);
    }
}

fn assert_alike(head: &str, gate: &Gate, ours: &[HeadOutput], reference: &[HeadOutput], how: &str) {
    let (mut same, mut difference, mut numbers) = (0usize, 0.0, 0usize);
    for (ours, reference) in ours.iter().zip(reference) {
        same += usize::from(match (ours.score, reference.score) {
            (Some(a), Some(b)) => f64::from((a - b).abs()) <= SAME_SCORES,
            _ => ours.top().unwrap().0 == reference.top().unwrap().0,
        });
        for (a, b) in ours.confidences.iter().zip(&reference.confidences) {
            difference += f64::from((a - b).abs());
            numbers += 1;
        }
    }
    let (same, difference) = (same as f64 / ours.len() as f64, difference / numbers as f64);
    println!(
        "{head}, {how}: {:.1} % of the labels are the same, probabilities differ by {difference:.4}",
        100.0 * same
    );
    assert!(same >= gate.agreement, "{head}, {how}: only {same:.3} of the predictions are the same");
    assert!(difference <= SAME_PROBABILITIES, "{head}, {how}: probabilities differ by {difference:.4}");
}

fn assert_gates(model: &str) {
    let folder = model_folder(model);
    let classifier = |precision| Classifier::load(&folder, precision);
    let (fp32, bf16) = (classifier(Precision::Fp32), classifier(Precision::Bf16));
    for (set, gate) in gates(model) {
        let (rows, head) = (rows(&set), gate.head.as_deref().unwrap_or(&set));
        let outputs = |predictions: Vec<Prediction>| of_head(&predictions, head);
        let reference = outputs(fp32.alone(&rows));
        let weights = SettingsFile::read(&folder, head).unwrap().weights(reference[0].labels.len());
        assert_good(&set, &gate, &weights, &rows, &reference, "fp32");
        assert_alike(&set, &gate, &outputs(fp32.batched(&rows)), &reference, "fp32 in batches");
        let in_bf16 = outputs(bf16.alone(&rows));
        assert_good(&set, &gate, &weights, &rows, &in_bf16, "bf16");
        assert_alike(&set, &gate, &in_bf16, &reference, "bf16 against fp32");
        assert_alike(&set, &gate, &outputs(bf16.batched(&rows)), &in_bf16, "bf16 in batches");
    }
}

#[test]
fn the_multilingual_model_reaches_its_thresholds_in_each_precision() {
    let _limit = TimeLimit::start();
    assert_gates("e5");
}

#[test]
fn the_english_model_reaches_its_thresholds_in_each_precision() {
    let _limit = TimeLimit::start();
    assert_gates("minilm");
}

/// All files of a folder and of the folders in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn no_gate_row_is_in_the_training_data() {
    let text = |row: &Record| row.text("text").unwrap().to_owned();
    let data = repository().join("models/data");
    let is_trained_on = |path: &PathBuf| {
        let below = path.strip_prefix(&data).unwrap().to_str().unwrap();
        // The labels of public prompts have no texts.
        let apart = below.starts_with("gate")
            || below.contains("validation")
            || ["paraphrases.jsonl", "public_labels.jsonl", "win_rate/gains.jsonl"].contains(&below);
        !apart && path.extension().is_some_and(|extension| extension == "jsonl")
    };
    let paths: Vec<_> = files(&data).into_iter().filter(is_trained_on).collect();
    let trained: BTreeSet<_> = read_all(&paths).unwrap().iter().map(text).collect();
    assert!(trained.len() > 10_000, "{}", trained.len());
    for set in gates("e5").keys().chain(gates("minilm").keys()) {
        for row in rows(set) {
            assert!(!trained.contains(row.text("text").unwrap()), "{row} is in the training data");
        }
    }
}

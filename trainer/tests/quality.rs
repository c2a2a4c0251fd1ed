//! The quality gate: the shipped model, in every precision that a CPU has, on a small set of our own, must be about as
//! good as its card says, and say the same of a text alone and in a batch.
//!
//! `models/minilm/gate.json` has the thresholds, a little under the card's figures; a head that is not in it is not gated.
//! `models/data/gate/HEAD.jsonl` has the rows (scripts/sample_gate.py).
// Only functions marked as tests are exempt by themselves, not what they call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use llm_router_classifier::device::{Compute, Precision};
use llm_router_classifier::model::Model;
use llm_router_classifier::model::prediction::{HeadOutput, Outputs, Prediction};
use llm_router_classifier::model::temperature::HeadSettings;
use llm_router_classifier::model::tokenizer::{Tokenizer, Tokens};
use llm_router_classifier::records::{Record, read_all};
use llm_router_trainer::eval::{Detection, Fields, Score, SingleLabel};
use serde::Deserialize;
use tch::Device;

/// Texts that share a forward pass.
const BATCH: usize = 16;

/// What a head must reach. What is not given is not asked of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gate {
    /// At least this share of the labels is right.
    accuracy: Option<f64>,
    /// The expected calibration error is at most this.
    ece: Option<f64>,
    /// The score's rank correlation is at least this.
    spearman: Option<f64>,
    /// Rows with one of these labels are told from the others with at least `auroc`.
    #[serde(default)]
    positive: Vec<String>,
    auroc: Option<f64>,
    /// In bf16 as in fp32, and in a batch as alone, at least this share of the most likely labels is the same; of scores,
    /// this share differs by no more than [`SAME_SCORES`].
    agreement: f64,
}

/// How far two scores may lie apart, and probabilities in the mean of all labels and rows.
const SAME_SCORES: f64 = 0.05;
const SAME_PROBABILITIES: f64 = 0.02;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn model_folder() -> PathBuf {
    let folder = repository().join("models/minilm");
    assert!(folder.join("model.safetensors").is_file(), "no encoder in models/minilm: run scripts/setup");
    folder
}

fn gates() -> BTreeMap<String, Gate> {
    let path = model_folder().join("gate.json");
    let gates: BTreeMap<String, Gate> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(!gates.is_empty());
    gates
}

fn rows(head: &str) -> Vec<Record> {
    let rows = read_all(&[repository().join(format!("models/data/gate/{head}.jsonl"))]).unwrap();
    assert!(rows.len() >= 50, "{head} has only {} rows", rows.len());
    rows
}

fn fields() -> Fields {
    Fields { text: "text".into(), label: "label".into(), renames: BTreeMap::new() }
}

/// A model that answers, alone or in batches of texts of about one length.
struct Classifier {
    model: Model,
    tokenizer: Tokenizer,
}

impl Classifier {
    fn load(precision: Precision) -> Self {
        tch::set_num_threads(1);
        let (model, tokenizer) =
            Model::load(&model_folder(), Compute { device: Device::Cpu, precision }).unwrap();
        Self { model, tokenizer }
    }

    fn tokens(&self, rows: &[Record]) -> Vec<Tokens> {
        rows.iter().map(|row| self.tokenizer.tokenize(row.text("text").unwrap()).unwrap()).collect()
    }

    fn alone(&self, rows: &[Record]) -> Vec<Prediction> {
        let answer = |tokens: &Tokens| self.model.classify(&[tokens], Outputs::Scores).unwrap().remove(0);
        self.tokens(rows).iter().map(answer).collect()
    }

    fn batched(&self, rows: &[Record]) -> Vec<Prediction> {
        let tokens = self.tokens(rows);
        let mut order: Vec<_> = (0..tokens.len()).collect();
        order.sort_by_key(|&row| tokens[row].ids().len());
        let mut answers = vec![Prediction::default(); tokens.len()];
        for batch in order.chunks(BATCH) {
            let texts: Vec<_> = batch.iter().map(|&row| &tokens[row]).collect();
            let said = self.model.classify(&texts, Outputs::Scores).unwrap();
            batch.iter().zip(said).for_each(|(&row, answer)| answers[row] = answer);
        }
        answers
    }
}

fn of_head(answers: &[Prediction], head: &str) -> Vec<HeadOutput> {
    let find = |answer: &Prediction| answer.scores.iter().find(|scores| &*scores.head == head).cloned();
    answers
        .iter()
        .map(|answer| find(answer).unwrap_or_else(|| panic!("no head {head:?} is shipped")))
        .collect()
}

fn assert_good(head: &str, gate: &Gate, rows: &[Record], scores: &[HeadOutput], how: &str) {
    let at_least = |name: &str, is: f64, least: Option<f64>| {
        println!("{head}, {how}: {name} {is:.3}");
        assert!(least.is_none_or(|least| is >= least), "{head}, {how}: {name} {is:.3} is under {least:?}");
    };
    if gate.accuracy.is_some() || gate.ece.is_some() {
        let measured = SingleLabel::of(rows, &fields(), scores).unwrap();
        at_least("accuracy", measured.agreement.accuracy, gate.accuracy);
        let ece = measured.calibration.ece;
        println!("{head}, {how}: ECE {ece:.3}");
        assert!(
            gate.ece.is_none_or(|most| ece <= most),
            "{head}, {how}: ECE {ece:.3} is over {:?}",
            gate.ece
        );
    }
    if gate.spearman.is_some() {
        let weights = HeadSettings::read(&model_folder(), head).unwrap().weights(scores[0].labels.len());
        let measured = Score::of(rows, scores, "label", Some(&weights)).unwrap();
        at_least("Spearman", measured.dimensions.last().unwrap().spearman.unwrap(), gate.spearman);
    }
    if gate.auroc.is_some() {
        let measured = Detection::of(rows, &fields(), scores, &gate.positive, 0.01).unwrap();
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
    assert!(same >= gate.agreement, "{head}, {how}: only {same:.3} of the answers are the same");
    assert!(difference <= SAME_PROBABILITIES, "{head}, {how}: probabilities differ by {difference:.4}");
}

#[test]
fn the_shipped_heads_are_as_good_as_their_thresholds_however_they_are_run() {
    let (fp32, bf16) = (Classifier::load(Precision::Fp32), Classifier::load(Precision::Bf16));
    for (head, gate) in gates() {
        let rows = rows(&head);
        let said = |answers: Vec<Prediction>| of_head(&answers, &head);
        let reference = said(fp32.alone(&rows));
        assert_good(&head, &gate, &rows, &reference, "fp32");
        assert_alike(&head, &gate, &said(fp32.batched(&rows)), &reference, "fp32 in batches");
        let in_bf16 = said(bf16.alone(&rows));
        assert_good(&head, &gate, &rows, &in_bf16, "bf16");
        assert_alike(&head, &gate, &in_bf16, &reference, "bf16 against fp32");
        assert_alike(&head, &gate, &said(bf16.batched(&rows)), &in_bf16, "bf16 in batches");
    }
}

#[test]
fn the_gates_rows_were_never_trained_on() {
    let texts = |path: PathBuf| -> BTreeSet<String> {
        let rows = read_all(&[path]).unwrap();
        rows.iter().map(|row| row.text("text").unwrap().to_owned()).collect()
    };
    let data = repository().join("models/data");
    let mut trained = BTreeSet::new();
    for name in ["task", "domain", "safety", "complexity"] {
        let folder = data.join(name).join("train");
        for path in [folder.clone(), folder.with_extension("jsonl")] {
            if path.exists() {
                trained.extend(texts(path));
            }
        }
    }
    assert!(trained.len() > 1000);
    for head in gates().keys() {
        for row in rows(head) {
            assert!(!trained.contains(row.text("text").unwrap()), "{row} is in the training data");
        }
    }
}

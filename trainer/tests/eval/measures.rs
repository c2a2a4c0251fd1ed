//! Metrics of synthetic predictions, compared with those of scikit-learn, SciPy and RouteLLM, which fixtures/make_metrics.py
//! computes.

use llm_router_trainer::eval::{Evaluation, Grades, Reliability, RoutingQuality, auroc, recall_at, spearman};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    labels: Labels,
    ranking: Ranking,
    routing: Routing,
}

#[derive(Deserialize)]
struct Labels {
    names: Vec<String>,
    truth: Vec<i64>,
    confidences: Vec<Vec<f32>>,
    accuracy: f64,
    macro_f1: f64,
    precision: Vec<f64>,
    recall: Vec<f64>,
    f1: Vec<f64>,
    log_loss: f64,
    ece: f64,
}

#[derive(Deserialize)]
struct Ranking {
    positive: Vec<f64>,
    scores: Vec<f64>,
    auroc: f64,
    recall_at_5_percent: f64,
    other: Vec<f64>,
    spearman: f64,
}

#[derive(Deserialize)]
struct Routing {
    need: Vec<f64>,
    weak: Vec<f64>,
    strong: Vec<f64>,
    apgr: f64,
    cpt50: f64,
    cpt80: f64,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../fixtures/metrics.json")).unwrap()
}

fn assert_same(name: &str, ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() < 1e-6, "{name}: {ours} here, {theirs} there");
}

#[test]
fn agreement_and_calibration_are_as_in_scikit_learn() {
    let Labels { names, truth, confidences, .. } = &reference().labels;
    let tops: Vec<_> =
        confidences.iter().map(|row| (0i64..).zip(row).max_by(|a, b| a.1.total_cmp(b.1)).unwrap()).collect();
    let predicted: Vec<_> = tops.iter().map(|(label, _)| *label).collect();
    let ours = Evaluation::compute(names, &predicted, truth);
    let theirs = reference().labels;
    assert_same("accuracy", ours.accuracy, theirs.accuracy);
    assert_same("macro-F1", ours.macro_f1, theirs.macro_f1);
    for (index, label) in ours.labels.iter().enumerate() {
        assert_same("precision", label.precision, theirs.precision[index]);
        assert_same("recall", label.recall, theirs.recall[index]);
        assert_same("F1", label.f1, theirs.f1[index]);
    }
    let outcomes: Vec<_> =
        tops.iter().zip(truth).map(|((label, top), truth)| (f64::from(**top), label == truth)).collect();
    assert_same("ECE", Reliability::from_outcomes(&outcomes).ece, theirs.ece);
}

#[test]
fn log_loss_is_as_in_scikit_learn() {
    use std::sync::Arc;

    use llm_router_classifier::model::prediction::HeadOutput;
    use llm_router_classifier::records::read_all;
    use llm_router_trainer::eval::{Fields, SingleLabel};

    let Labels { names, truth, confidences, log_loss, .. } = reference().labels;
    let folder = tempfile::tempdir().unwrap();
    let rows: String =
        truth.iter().map(|&label| format!("{{\"label\": \"{}\"}}\n", names[label as usize])).collect();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, rows).unwrap();
    let labels: Arc<[String]> = names.into();
    let scores = confidences.into_iter().map(|confidences| HeadOutput {
        head: "task".into(),
        labels: labels.clone(),
        confidences,
        score: None,
    });
    let fields = Fields { text: "text".into(), label: "label".into(), renames: [].into() };
    let scores: Vec<_> = scores.collect();
    let measured = SingleLabel::compute(&read_all(&[path]).unwrap(), &fields, &scores).unwrap();
    assert_same("log loss", measured.log_loss, log_loss);
}

#[test]
fn ranking_is_as_in_scikit_learn_and_scipy() {
    let Ranking { positive, scores, other, .. } = &reference().ranking;
    let of = |wanted: f64| -> Vec<f64> {
        scores.iter().zip(positive).filter(|(_, is)| **is == wanted).map(|(score, _)| *score).collect()
    };
    let (positives, negatives) = (of(1.0), of(0.0));
    let theirs = reference().ranking;
    assert_same("AUROC", auroc(&positives, &negatives).unwrap(), theirs.auroc);
    let recall = recall_at(&positives, &negatives, 0.05).unwrap().recall;
    assert_same("recall", recall, theirs.recall_at_5_percent);
    assert_same("Spearman", spearman(scores, other).unwrap(), theirs.spearman);
}

#[test]
fn routing_is_as_in_routellm() {
    let Routing { need, weak, strong, .. } = &reference().routing;
    let grades: Vec<_> = weak.iter().zip(strong).map(|(&weak, &strong)| Grades { weak, strong }).collect();
    let ours = RoutingQuality::compute(need, &grades).unwrap();
    let theirs = reference().routing;
    assert_same("APGR", ours.apgr, theirs.apgr);
    assert_same("CPT(50 %)", ours.cpt50.unwrap(), theirs.cpt50);
    assert_same("CPT(80 %)", ours.cpt80.unwrap(), theirs.cpt80);
}

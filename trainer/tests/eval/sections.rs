//! Sections on heads with several labels and on scores, compared with figures counted by hand.

use std::sync::Arc;

use llm_router_classifier::model::prediction::HeadOutput;
use llm_router_classifier::records::{Record, read_all};
use llm_router_trainer::eval::{Detection, Fields, MultiLabel, Score, Section};
use serde_json::{Value, json};

fn rows(rows: &[Value]) -> Vec<Record> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    read_all(&[path]).unwrap()
}

fn fields() -> Fields {
    let renames = [("old".to_owned(), "b".to_owned())].into();
    Fields { text: "text".into(), label: "label".into(), renames }
}

fn scores(labels: &[&str], rows: &[(&[f32], Option<f32>)]) -> Vec<HeadOutput> {
    let labels: Arc<[String]> = labels.iter().map(|label| (*label).to_owned()).collect();
    let row = |(confidences, score): &(&[f32], Option<f32>)| HeadOutput {
        head: "head".into(),
        labels: labels.clone(),
        confidences: confidences.to_vec(),
        score: *score,
    };
    rows.iter().map(row).collect()
}

#[test]
fn each_label_is_counted_and_renamed() {
    let rows = rows(&[
        json!({"label": ["a", "old"]}),
        json!({"label": "a"}),
        json!({"label": []}),
        json!({"label": "a|b"}),
    ]);
    let predicted = scores(
        &["a", "b"],
        &[(&[0.9, 0.8], None), (&[0.4, 0.1], None), (&[0.7, 0.2], None), (&[0.6, 0.9], None)],
    );
    let measured = MultiLabel::compute(&rows, &fields(), &predicted).unwrap();
    assert_eq!(measured.exact, 0.5);
    let [a, b] = &measured.labels[..] else { panic!("{measured:?}") };
    // Label a has three rows and three predictions, two of them right. All of b are right.
    let (of_a, of_b) = (&a.agreement, &b.agreement);
    assert_eq!((of_a.rows, of_a.precision, of_a.recall, of_a.f1), (3, 2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0));
    assert_eq!((of_b.rows, of_b.precision, of_b.recall, of_b.f1), (2, 1.0, 1.0, 1.0));
    // 0.9, 0.4 and 0.6 against 0.7.
    assert_eq!((a.auroc, b.auroc), (Some(1.0 / 3.0), Some(1.0)));
    assert!((measured.macro_f1 - 5.0 / 6.0).abs() < 1e-12);
    let unknown = self::rows(&[json!({"label": ["c"]})]);
    let error = MultiLabel::compute(&unknown, &fields(), &predicted[..1]).unwrap_err().to_string();
    assert!(error.contains("line 1: the head has no label \"c\""), "{error}");
}

#[test]
fn dimensions_are_compared_where_they_are_known_and_the_score_by_its_weights() {
    let rows = rows(&[
        json!({"x": 0.0, "y": 1.0}),
        json!({"x": 0.5, "y": null}),
        json!({"x": 1.0, "y": 0.0}),
        json!({"x": "1", "y": 0.5}),
    ]);
    let predicted = scores(
        &["x", "y"],
        &[
            (&[0.1, 0.5], Some(0.2)),
            (&[0.4, 0.5], Some(0.5)),
            (&[0.8, 0.5], Some(0.6)),
            (&[0.8, 0.5], Some(0.9)),
        ],
    );
    let measured = Score::compute(&rows, &predicted, "label", Some(&[0.75, 0.25])).unwrap();
    let [x, y, score] = &measured.dimensions[..] else { panic!("{measured:?}") };
    assert_eq!((x.rows, x.spearman, y.rows, y.spearman), (4, Some(1.0), 3, None));
    // The errors are 0.1, 0.1, 0.2 and 0.2. The median is 1; its errors are 1 and 0.5.
    assert!(
        (x.mean_absolute_error - 0.15).abs() < 1e-6 && (x.median_baseline_error - 0.375).abs() < 1e-9,
        "{x:?}"
    );
    // The true scores are 0.25, 0.75 and 0.875.
    assert_eq!((score.name.as_str(), score.rows, score.spearman), ("score", 3, Some(1.0)));
    assert!((score.mean_absolute_error - (0.05 + 0.15 + 0.025) / 3.0).abs() < 1e-6, "{score:?}");
    assert!(measured.table().contains("score"));
    let error = Score::compute(&self::rows(&[json!({})]), &predicted[..1], "label", None).unwrap_err();
    assert!(error.to_string().contains("none of the fields"), "{error}");
}

#[test]
fn a_head_with_one_dimension_is_compared_with_the_label() {
    let rows = rows(&[json!({"label": 0.2}), json!({"label": 0.8})]);
    let predicted = scores(&["hard"], &[(&[0.3], Some(0.3)), (&[0.9], Some(0.9))]);
    let measured = Score::compute(&rows, &predicted, "label", None).unwrap();
    assert_eq!(measured.dimensions.len(), 1);
    assert_eq!(measured.dimensions[0].spearman, Some(1.0));
}

#[test]
fn probabilities_of_positive_labels_add_up() {
    let rows =
        rows(&[json!({"label": "a"}), json!({"label": "b"}), json!({"label": "c"}), json!({"label": "c"})]);
    let predicted = scores(
        &["a", "b", "c"],
        &[
            (&[0.3, 0.3, 0.4], None),
            (&[0.0, 0.7, 0.3], None),
            (&[0.5, 0.0, 0.5], None),
            (&[0.1, 0.1, 0.8], None),
        ],
    );
    let positive = ["a", "b"].map(str::to_owned);
    let measured = Detection::compute(&rows, &fields(), &predicted, &positive, 0.0).unwrap();
    assert_eq!((measured.auroc, measured.at.recall, measured.at.false_positive_rate), (1.0, 1.0, 0.0));
    // For a alone: 0.3 against 0, 0.5 and 0.1.
    let of_a = Detection::compute(&rows, &fields(), &predicted, &positive[..1], 0.0).unwrap();
    assert!((of_a.auroc - 2.0 / 3.0).abs() < 1e-12, "{of_a:?}");
    let error = Detection::compute(&rows, &fields(), &predicted, &["d".to_owned()], 0.0).unwrap_err();
    assert!(error.to_string().contains("\"d\""), "{error}");
}

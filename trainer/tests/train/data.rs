//! Errors about unsuitable training data.

use std::path::Path;

use llm_router_trainer::train::{HeadKind, HeadPlan, Plan, Source, load};

/// Ten rows of each of two labels, and more rows.
fn rows(others: &str) -> String {
    let rows = (0..20).map(|row| format!("row {row},{}\n", ["billing", "travel"][row % 2]));
    format!("text,label\n{}{others}", rows.collect::<String>())
}

fn rejection(folder: &Path, files: &[(&str, &str)], name: &str) -> String {
    let data = files.iter().map(|(name, content)| {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        Source::from(path)
    });
    let plan = Plan { heads: vec![HeadPlan::new(name, data.collect())] };
    format!("{:#}", load(&plan, 1).unwrap_err())
}

#[test]
fn errors_say_what_to_do() {
    let good = rows("");
    for (files, expected) in [
        (&[("a.csv", "")][..], &["a.csv has no rows"][..]),
        (&[("a.csv", &good), ("b.jsonl", "\n\n")], &["b.jsonl has no rows"]),
        (
            &[("a.csv", &good.replace("label", "category"))],
            &["a.csv, line 2: the field \"label\" is missing among \"text\", \"category\""],
        ),
        (&[("a.csv", &rows("one more,\n"))], &["a.csv, line 22: the field \"label\" is empty"]),
        (&[("a.csv", &rows("one more,rare\n"))], &["\"rare\" has 1", "--map"]),
        (
            &[("a.csv", &good), ("b.csv", &good.replace("row", "line").replace("billing", "Billing "))],
            &["\"billing\"", "a.csv", "\"Billing \"", "b.csv", "--map 'Billing =billing'"],
        ),
        (
            &[("a.csv", &good), ("b.jsonl", r#"{"text": "Is it so?", "label": true}"#)],
            &["b.jsonl, line 1: the field \"label\" must be a string, but is true: quote it"],
        ),
        (&[("a.csv", &good.replace("travel", &"long".repeat(40)))], &["at most 128 bytes"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let error = rejection(folder.path(), files, "topic");
        assert!(error.starts_with("head \"topic\": "), "{error}");
        for part in expected {
            assert!(error.contains(part), "{error}");
        }
    }
}

#[test]
fn a_score_without_a_number_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let rows = (0..20).map(|row| format!("{{\"text\": \"row {row}\", \"label\": 0.3, \"clarity\": 0.5}}\n"));
    std::fs::write(&path, rows.collect::<String>()).unwrap();
    let rejection = |fields: &[&str]| {
        let score_fields = fields.iter().map(|&field| field.to_owned()).collect();
        let data = vec![Source::from(path.clone())];
        let head = HeadPlan { kind: HeadKind::Score, score_fields, ..HeadPlan::new("quality", data) };
        load(&Plan { heads: vec![head] }, 1).map(|_| ()).map_err(|error| format!("{error:#}"))
    };
    let error = rejection(&["score"]).unwrap_err();
    assert!(error.contains("no row has a number in the field \"score\"; --score-fields"), "{error}");
    let error = rejection(&["clarity", "clarty"]).unwrap_err();
    assert!(error.contains("\"clarty\""), "{error}");
    rejection(&["clarity", "label"]).unwrap();
}

#[test]
fn an_invalid_header_name_is_rejected_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let error = rejection(folder.path(), &[("a.csv", &rows(""))], "My Topic");
    assert!(error.contains("a-z, 0-9 and '-'"), "{error}");
}

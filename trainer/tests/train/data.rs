//! What is said of data that cannot be trained on.

use std::path::Path;

use llm_router_trainer::train::{HeadPlan, Plan, Source, load};

/// Ten rows of each of two labels, and others.
fn rows(others: &str) -> String {
    let rows = (0..20).map(|row| format!("row {row},{}\n", ["billing", "travel"][row % 2]));
    format!("text,label\n{}{others}", rows.collect::<String>())
}

fn refusal(folder: &Path, files: &[(&str, &str)], name: &str) -> String {
    let data = files.iter().map(|(name, content)| {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        Source::from(path)
    });
    let plan = Plan { heads: vec![HeadPlan::new(name, data.collect())] };
    format!("{:#}", load(&plan, 1).unwrap_err())
}

#[test]
fn what_is_wrong_is_named_with_what_to_do() {
    let good = rows("");
    for (files, wrong) in [
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
        let error = refusal(folder.path(), files, "topic");
        assert!(error.starts_with("head \"topic\": "), "{error}");
        for part in wrong {
            assert!(error.contains(part), "{error}");
        }
    }
}

#[test]
fn a_name_that_cannot_be_in_a_header_is_refused_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(folder.path(), &[("a.csv", &rows(""))], "My Topic");
    assert!(error.contains("a-z, 0-9 and '-'"), "{error}");
}

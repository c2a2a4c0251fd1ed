//! `eval` on real rows with the shipped model.

use roxmltree::Document;

use crate::{gate, json, minilm, rejection, repository, run, stdout, write};

#[test]
fn a_head_is_measured_as_tables_json_and_drawings() {
    let folder = tempfile::tempdir().unwrap();
    let (rows, out) = (gate(), folder.path().join("drawings"));
    let (model, rows, out) = (minilm(), rows.to_str().unwrap(), out.to_str().unwrap());
    let arguments = ["eval", "--model", model.to_str().unwrap(), "--head", "task", "--data", rows];

    let found = json(&[&arguments[..], &["--positive", "Chatbot", "Unknown", "--out", out]].concat());
    assert_eq!(found["rows"], 120);
    let labels = &found["labels"];
    let accuracy = labels["accuracy"].as_f64().unwrap();
    assert!((0.5..1.0).contains(&accuracy), "{accuracy}");
    let counts: Vec<Vec<u64>> = serde_json::from_value(labels["confusion"]["counts"].clone()).unwrap();
    let right: u64 = counts.iter().enumerate().map(|(index, row)| row[index]).sum();
    assert_eq!(right, (accuracy * 120.0).round() as u64, "the diagonal counts right predictions");
    let binned: u64 =
        labels["bins"].as_array().unwrap().iter().map(|bin| bin["rows"].as_u64().unwrap()).sum();
    assert_eq!(binned, 120);
    let detection = &found["detection"];
    assert_eq!((detection["positives"].as_u64(), detection["negatives"].as_u64()), (Some(20), Some(100)));
    assert!(detection["auroc"].as_f64().unwrap() > 0.8, "{detection}");
    assert!(detection["at"]["false_positive_rate"].as_f64().unwrap() <= 0.01);
    for name in ["confusion.svg", "reliability.svg"] {
        let svg = std::fs::read_to_string(std::path::Path::new(out).join(name)).unwrap();
        Document::parse(&svg).unwrap();
    }

    let table = stdout(&arguments);
    assert!(table.contains(&format!("accuracy {accuracy:.3}")), "{table}");
    assert!(
        table.lines().any(|line| line.starts_with("Code Generation") && line.contains(" 10 ")),
        "{table}"
    );
}

#[test]
fn rows_of_each_source_are_reported_apart() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [
        r#"{"text": "Write a Python function that sorts a list.", "label": "Code Generation", "source": "ours"}"#,
        r#"{"text": "Hi there, how are you?", "label": "Chatbot", "source": "ours"}"#,
        r#"{"text": "Write an SQL query that counts users.", "label": "Chatbot", "source": "wrong"}"#,
        r#"{"text": "Write a bash script that renames files.", "label": "Code Generation"}"#,
    ];
    let (model, rows) = (minilm(), write(folder.path(), "rows.jsonl", &rows.join("\n")));
    let arguments =
        ["eval", "--model", model.to_str().unwrap(), "--head", "task", "--data", &rows, "--by", "source"];
    let found = json(&[&arguments[..], &["--positive", "Chatbot", "--false-positive-rate", "0.5"]].concat());
    let groups = found["groups"].as_array().unwrap();
    let of = |field: &str| groups.iter().map(|group| group[field].clone()).collect::<Vec<_>>();
    assert_eq!(of("source"), ["(none)", "ours", "wrong"]);
    assert_eq!(of("rows"), [1, 2, 1]);
    let accuracies: Vec<_> =
        groups.iter().map(|group| group["labels"]["accuracy"].as_f64().unwrap()).collect();
    assert_eq!(accuracies, [1.0, 1.0, 0.0]);
    // A group without positives has no recall, and one without negatives no false positives.
    assert!(
        groups[0]["detection"]["recall"].is_null() && groups[1]["detection"]["recall"].is_number(),
        "{found}"
    );
    assert!(groups[2]["detection"]["false_positive_rate"].is_null(), "{found}");

    let typo = [&arguments[..8], &["sauce"]].concat();
    assert!(rejection(&typo).contains("--by sauce: no row has this field"));

    let table = stdout(&arguments);
    assert!(table.lines().any(|line| line.starts_with("ours") && line.contains("1.000")), "{table}");
    assert!(table.contains("if prompts with less confidence keep their default model"), "{table}");
}

/// Prompts whose grades the head `task` can predict: code needs the strong model.
fn graded(folder: &std::path::Path) -> String {
    let codes = ["sorts a list", "parses a date", "reads a CSV file", "reverses a string", "counts words"];
    let chats = ["how are you", "what's up", "good morning", "nice to meet you", "did you sleep well"];
    let row = |text: String, weak: u8| format!("{{\"text\": \"{text}\", \"weak\": {weak}, \"strong\": 1}}\n");
    let codes = codes.map(|what| row(format!("Write a Python function that {what}."), 0));
    let chats = chats.map(|what| row(format!("Hi there, {what} today?"), 1));
    write(folder, "graded.jsonl", &[codes.concat(), chats.concat()].concat())
}

#[test]
fn a_router_is_compared_with_simpler_ones_and_priced() {
    let folder = tempfile::tempdir().unwrap();
    let (rows, out) = (graded(folder.path()), folder.path().to_str().unwrap());
    let model = minilm();
    let inputs = ["--model", model.to_str().unwrap(), "--data", &rows];
    let arguments = [&["eval", "--win-rate", "--head", "task"], &inputs[..]].concat();
    let by_code = [&arguments[..], &["--positive", "Code Generation", "--strong-when", "high"]].concat();

    let found = &json(&[&by_code[..], &["--out", out]].concat())["win_rate"];
    assert_eq!((found["weak"].as_f64(), found["strong"].as_f64()), (Some(0.5), Some(1.0)));
    // Code goes first, so each tenth recovers a fifth of the gap: 0.1 · (0.1 + 0.3 + 0.5 + 0.7 + 0.9) + 0.5.
    assert!((found["router"]["apgr"].as_f64().unwrap() - 0.75).abs() < 1e-6, "{found}");
    assert!((found["random_apgr"].as_f64().unwrap() - 0.5).abs() < 0.05);
    let all = found["keeps"].as_array().unwrap().iter().find(|kept| kept["part"] == 1.0).unwrap();
    assert_eq!((all["strong_fraction"].as_f64(), all["cost_part"].as_f64()), (Some(0.5), Some(0.5)));
    let svg = std::fs::read_to_string(folder.path().join("cost-quality.svg")).unwrap();
    let document = Document::parse(&svg).unwrap();
    let texts: Vec<_> = document.descendants().filter_map(|node| node.text()).map(str::trim).collect();
    for text in ["this head", "prompt length", "random", "mean grade", "95 % of quality at 50 % of cost"] {
        assert!(texts.contains(&text), "no {text} in {texts:?}");
    }
    let curves = document.descendants().filter_map(|node| node.attribute("points"));
    let curves: Vec<_> = curves.filter(|points| points.split_whitespace().count() > 2).collect();
    let [_by_length, by_head] = curves[..] else { panic!("{curves:?}") };
    let dot = document.descendants().find(|node| node.has_tag_name("circle")).unwrap();
    let place = format!("{},{}", dot.attribute("cx").unwrap(), dot.attribute("cy").unwrap());
    assert!(by_head.split_whitespace().any(|point| point == place), "{place} is not on {by_head}");

    let policy = repository().join("docs/examples/two-models.yaml");
    let policy = ["--policy", policy.to_str().unwrap(), "--completion-tokens", "100"];
    let table = stdout(&[&["eval", "--win-rate", "--head", "complexity"], &inputs[..], &policy].concat());
    assert!(table.contains("cost: small ($0.05 / $0.08 per million tokens) or large"), "{table}");
    // The weak model, at a fifteenth of the price, takes four of the ten rows.
    assert!(table.contains("keeps 100 % of the quality at 53 % of the cost (50 % strong calls)"), "{table}");
}

#[test]
fn a_policy_by_another_head_is_rejected_by_every_command_that_takes_one() {
    let folder = tempfile::tempdir().unwrap();
    let (rows, model) = (graded(folder.path()), minilm());
    let policy = repository().join("docs/examples/two-models.yaml");
    let rows = ["--model", model.to_str().unwrap(), "--data", &rows, "--policy", policy.to_str().unwrap()];
    for command in [
        &["eval", "--win-rate"][..],
        &["calibrate", "threshold", "--quality", "0.95"],
        &["calibrate", "threshold", "--strong-fraction", "0.3"],
    ] {
        for head in [&["--head", "win-rate"][..], &["--head", "task", "--positive", "Code Generation"]] {
            let error = rejection(&[command, &rows, head].concat());
            let names = format!("by the classifier \"complexity\", but --head is \"{}\"", head[1]);
            assert!(error.contains(&names) && error.contains("use --head complexity"), "{error}");
        }
    }
}

#[test]
fn a_ranking_in_the_wrong_direction_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (rows, model) = (graded(folder.path()), minilm());
    let rows = [
        "--model",
        model.to_str().unwrap(),
        "--data",
        &rows,
        "--head",
        "task",
        "--positive",
        "Code Generation",
    ];
    for command in [&["eval", "--win-rate"][..], &["calibrate", "threshold", "--quality", "0.95"]] {
        for (when, is_reversed) in [("high", false), ("low", true)] {
            let found = run(&[command, &rows, &["--strong-when", when]].concat());
            let log = String::from_utf8(found.stderr).unwrap();
            assert!(found.status.success(), "{log}");
            assert_eq!(log.contains("worse than chance"), is_reversed, "{command:?} {when}: {log}");
        }
    }
}

#[test]
fn example_routes_are_measured_with_the_code_that_serves_them() {
    let folder = tempfile::tempdir().unwrap();
    let texts = |label: &str, texts: &[&str]| -> String {
        texts.iter().map(|text| format!("\"{text}\",{label}\n")).collect()
    };
    let train = [
        "text,label\n".to_owned(),
        texts("billing", &["Where is my invoice?", "I want my money back", "You charged me twice"]),
        texts("technical", &["The app crashes on start", "Error 500 when I log in", "It is very slow today"]),
        texts("oos", &["Who was Napoleon?"]),
    ];
    let data = [
        "text,label\n".to_owned(),
        texts("billing", &["I was billed two times", "please refund my payment"]),
        texts("technical", &["the program always crashes", "login shows an error"]),
        texts("oos", &["How far away is the moon?", "a recipe for pancakes"]),
    ];
    let (train, data) = (
        write(folder.path(), "train.csv", &train.concat()),
        write(folder.path(), "data.csv", &data.concat()),
    );
    let model = minilm();
    let arguments = ["eval", "--model", model.to_str().unwrap(), "--train", &train, "--data", &data];
    let found = json(&[&arguments[..], &["--examples", "3", "--out-of-scope", "oos"]].concat());
    let examples = &found["examples"];
    assert_eq!(
        (examples["total"].as_u64(), examples["accuracy"].as_f64()),
        (Some(6), Some(1.0)),
        "{examples}"
    );
    assert_eq!(examples["out_of_scope"]["auroc"], 1.0, "{examples}");
    assert!(
        rejection(&[&arguments[..], &["--examples", "4", "--out-of-scope", "oos"]].concat())
            .contains("3 rows")
    );
    assert!(rejection(&[&arguments[..], &["--examples", "3"]].concat()).contains("1 rows of \"oos\""));
}

#[test]
fn unsuitable_rows_are_rejected_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let rows = write(folder.path(), "rows.jsonl", "{\"text\": \"hi\", \"label\": \"Small Talk\"}\n");
    let model = minilm();
    let arguments = ["eval", "--model", model.to_str().unwrap(), "--data", &rows];
    for (more, reason) in [
        (&["--head", "task"][..], "rows.jsonl, line 1: the head has no label \"Small Talk\""),
        (&["--head", "mood"], "--head mood: the model has no such head; it has ["),
        (&["--head", "task", "--label-field", "kind"], "line 1: the field \"kind\" is missing among"),
        (
            &["--head", "task", "--win-rate"],
            "which scores of head \"task\" go to the strong model? Use --strong-when",
        ),
        (&["--head", "task", "--strong-when", "low"], "--strong-when has no effect without --win-rate"),
        (&["--head", "task", "--policy", &rows], "--policy has no effect without --win-rate"),
        (&[], "--head"),
    ] {
        let error = rejection(&[&arguments[..], more].concat());
        assert!(error.contains(reason), "{more:?}: {error}");
    }
    for (more, reason) in [
        (&["--head", "task"][..], "name those whose probability is the score with --positive"),
        (&["--head", "task", "--positive", "Other"], "the field \"weak\" must be a number"),
        (&["--head", "task", "--positive", "Poem"], "head \"task\" has no label \"Poem\""),
        (&["--head", "complexity", "--positive", "reasoning"], "head \"complexity\" predicts a score"),
    ] {
        let error = rejection(&[&arguments[..], &["--win-rate", "--strong-when", "low"], more].concat());
        assert!(error.contains(reason), "{more:?}: {error}");
    }
    let renamed = run(&[&arguments[..], &["--head", "task", "--map", "Small Talk=Chatbot"]].concat());
    assert!(renamed.status.success(), "{}", String::from_utf8_lossy(&renamed.stderr));
}

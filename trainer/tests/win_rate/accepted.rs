//! A weak model that fails on one subject: the head finds it, is written, and is served.

use llm_router_classifier::model::Model;
use llm_router_classifier::model::prediction::Outputs;
use llm_router_routing::documents;
use serde_json::Value;
use tch::Device;

use crate::prompts::hidden_subject;
use crate::{Workspace, stderr, stdout};

/// A policy by a head of the pair, with prices.
fn policy(classifier: &str, bands: &str) -> String {
    format!(
        "sidecar: {{cluster: c}}\ndefault_policy: by-win-rate\nmodels:\n  small: {{cluster: c, model: s, cost: {{input: 1, \
         output: 1}}}}\n  large: {{cluster: c, model: l, cost: {{input: 10, output: 10}}}}\npolicies:\n  by-win-rate:\n    \
         classifier: {classifier}\n    bands: {bands}\n"
    )
}

#[test]
fn heads_of_several_pairs_are_reported_written_and_served_side_by_side() {
    let workspace = Workspace::new();
    // As `grade` writes them, with the models' names.
    let names = r#""weak_model": "small", "strong_model": "large", "method""#;
    workspace.write("graded.jsonl", &hidden_subject().replace(r#""method""#, names));
    let first = stdout(&workspace.win_rate(&["--data", "graded.jsonl"]));
    assert!(first.contains("# Head `win-rate-small-large`"), "{first}");

    let folder = "model/heads/win-rate-small-large";
    let report: Value = serde_json::from_str(&workspace.read(&format!("{folder}/report.json"))).unwrap();
    let number = |path: &str| {
        report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path}: {report}"))
    };
    assert_eq!((number("/prompts"), number("/folds")), (180.0, 5.0));
    assert!(number("/routing/apgr_difference/low") > 0.1, "{report}");
    assert!(number("/routing/head_apgr/value") > 0.7, "{report}");
    // Half of the prompts need the strong model. At random, nearly all must go there.
    let target =
        report["routing"]["targets"].as_array().unwrap().iter().find(|it| it["quality"] == 0.95).unwrap();
    assert!(target["head"]["value"].as_f64().unwrap() < 0.65, "{target}");
    assert!(target["random"]["value"].as_f64().unwrap() > 0.85, "{target}");
    let card = workspace.read(&format!("{folder}/README.md"));
    let apgr = format!("| this head | {:.3} (", number("/routing/head_apgr/value"));
    for part in
        [&apgr, "fitted to all 180 rows", "classifier: win-rate-small-large", "win-rate --model model"]
    {
        assert!(card.contains(part), "no {part:?} in\n{card}");
    }
    assert!(workspace.read(&format!("{folder}/report.md")).contains(&apgr));
    let svg = workspace.read(&format!("{folder}/cost_quality.svg"));
    let svg = roxmltree::Document::parse(&svg).unwrap();
    let texts: Vec<_> = svg.descendants().filter_map(|node| node.text()).map(str::trim).collect();
    for text in ["this head", "prompt length", "random", "95 % interval", "strong calls, in %"] {
        assert!(texts.contains(&text), "no {text} in {texts:?}");
    }

    // The printed lines are a policy, which is compared in a second run, for a head beside the first one.
    let lines = first.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let bands = lines.lines().find_map(|line| line.strip_prefix("bands: ")).unwrap();
    workspace.write("policy.yaml", &policy("win-rate-small-large", bands));
    documents::parse_one(&workspace.read("policy.yaml")).unwrap();
    let with_policy = ["--head", "win-rate-other", "--policy", "policy.yaml", "--report", "report"];
    let second = stdout(&workspace.win_rate(&[&["--data", "graded.jsonl"], &with_policy[..]].concat()));
    for part in [
        "### The policy by-win-rate",
        "## Routing between small and large",
        "| cost |",
        "small alone costs 0.112",
    ] {
        assert!(second.contains(part), "no {part:?} in\n{second}");
    }
    let report: Value = serde_json::from_str(&workspace.read("report/report.json")).unwrap();
    let current = &report["routing"]["current"];
    assert_eq!((current["prompts"].as_u64(), current["elsewhere"].as_u64()), (Some(180), Some(0)));
    // The head has seen these prompts, so its policy does at least as well as is reported of it.
    assert!(current["kept"]["value"].as_f64().unwrap() > 0.9, "{current}");
    assert!((0.3..0.7).contains(&current["strong_fraction"]["value"].as_f64().unwrap()), "{current}");
    assert!(
        workspace.path("report/cost_quality.svg").is_file() && workspace.path("report/report.md").is_file()
    );

    workspace.write("other.yaml", &policy("mood", bands));
    let missing = stderr(&workspace.win_rate(&["--data", "graded.jsonl", "--policy", "other.yaml"]));
    assert!(
        missing
            .contains("the policy asks the classifier \"mood\", which the model lacks; it has [\"win-rate-"),
        "{missing}"
    );

    let (model, tokenizer) = Model::load(&workspace.path("model"), Device::Cpu).unwrap();
    assert_eq!(model.heads().collect::<Vec<_>>(), ["win-rate-other", "win-rate-small-large"]);
    assert!(
        model
            .notes()
            .all(|(_, note)| note.starts_with("Trained on grades of small against large on 180 prompts"))
    );
    let config = documents::parse_one(&workspace.read("policy.yaml")).unwrap();
    for (text, expected) in
        [("Does the Moon have an atmosphere?", "large"), ("Which sauce goes with fried eggs?", "small")]
    {
        let tokens = tokenizer.tokenize(text).unwrap();
        let scores = model.classify(&[&tokens], Outputs::Scores).unwrap().remove(0).scores;
        let score =
            scores.iter().find(|scores| &*scores.head == "win-rate-small-large").unwrap().score.unwrap();
        let target = config.default_policy.bands().unwrap().target(score);
        assert_eq!(target.models().next().unwrap().name.as_str(), expected, "{text}: {score}");
    }
}

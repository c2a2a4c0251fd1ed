//! Rows with answers and patterns; what is sent and what is written.

use std::os::unix::fs::PermissionsExt;

use llm_router_trainer::win_rate::{Completion, GradedFields, GradedPrompts};
use serde_json::json;

use crate::provider::{MockProvider, Received, Reply};
use crate::{Run, grades};

/// A model that knows all answers, and one that only knows Paris.
fn capitals(request: &Received) -> Reply {
    let is_france = request.prompt.contains("France");
    Reply::text(match (request.model.as_str(), is_france) {
        ("large", true) => "The capital is:\n\n**Paris**",
        (_, true) => "paris.",
        ("large", false) => "It has 3,700,000 people.",
        _ => "It has 2 people.",
    })
}

#[test]
fn answers_numbers_and_patterns_give_grades() {
    let provider = MockProvider::start(capitals);
    let run = Run::new(
        &provider,
        &[
            r#"{"id": 7, "text": "Capital of France?", "answer": ["Paris", "Paris (France)"], "source": "quiz"}"#,
            r#"{"prompt": "And of Germany, how large?", "context": ["Hi"], "answer": 3700000}"#,
            r#"{"text": "Again, how large?", "answer_regex": "(?i)[0-9,]+ PEOPLE"}"#,
            r#"{"text": "Capital of France?", "answer": ["Paris", "Paris (France)"]}"#,
        ],
    );
    let ended = run.succeed(&["--price", "small=1,2", "--price", "large=10,20"]);
    let graded = run.graded();
    assert_eq!(grades(&graded), [(1.0, 1.0), (0.0, 1.0), (1.0, 1.0)]);
    let scores: Vec<_> = graded.iter().map(|row| row["score"].as_f64().unwrap()).collect();
    assert_eq!(scores, [0.5, 0.0, 0.5]);
    // 10 tokens in and out of either model: 10 × (1 + 2 + 10 + 20) per million.
    assert_eq!(graded[0]["cost_usd"], json!(0.00033));
    assert_eq!(graded[0]["weak_usage"], json!({ "prompt_tokens": 10, "completion_tokens": 10 }));
    assert_eq!(read_by_win_rate(&run), [[Some((10.0, 10.0)); 2]; 3]);
    assert_eq!(
        (&graded[0]["id"], &graded[0]["source"], &graded[0]["method"]),
        (&json!(7), &json!("quiz"), &json!("answer"))
    );
    assert_eq!(
        (&graded[1]["text"], &graded[1]["context"]),
        (&json!("And of Germany, how large?"), &json!(["Hi"]))
    );
    assert_eq!(graded[1]["strong_completion"], "It has 3,700,000 people.");
    assert_eq!((&graded[1]["strong_model"], &graded[1]["weak_model"]), (&json!("large"), &json!("small")));
    assert_eq!(graded[2]["method"], "regex");
    for name in ["graded.jsonl", "graded.jsonl.journal.jsonl"] {
        assert_eq!(run.path(name).metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert!(!run.path("graded.jsonl.ungraded.jsonl").exists());
    // The repeated prompt is not sent again.
    assert_eq!(provider.count(), 6);
    let row = |name: &str| ended.printed.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let columns = row("answer").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(columns, ["answer", "2", "0.500", "1.000", "1", "0", "$0.000660"]);
    assert!(row("all").contains("3   0.667   1.000       2         0   $0.000990"), "{}", ended.printed);
}

#[test]
fn a_request_has_the_messages_and_the_settings() {
    let provider = MockProvider::start(|_| Reply::text("yes"));
    let run = Run::new(
        &provider,
        &[
            r#"{"text": "B", "context": ["A"], "answer": "yes"}"#,
            r#"{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "C"}], "answer": "yes"}"#,
        ],
    );
    let body = r#"large={"max_tokens": null, "max_completion_tokens": 77, "temperature": null}"#;
    run.succeed(&["--max-tokens", "99", "--temperature", "0.5", "--body", body, "--concurrency", "1"]);
    let sent = |model: &str, prompt: &str| {
        let all = provider.received();
        all.into_iter().find(|one| one.model == model && one.prompt == prompt).unwrap()
    };
    let user = |text: &str| json!({ "role": "user", "content": text });
    assert_eq!(
        sent("small", "B").body,
        json!({ "model": "small", "messages": [user("A"), user("B")], "max_tokens": 99, "temperature": 0.5 })
    );
    assert_eq!(sent("small", "B").path, "/v1/chat/completions");
    assert_eq!(
        sent("large", "C").body,
        json!({
            "model": "large", "messages": [{ "role": "system", "content": "Be brief." }, user("C")],
            "max_completion_tokens": 77,
        })
    );
    assert_eq!(run.graded()[1]["text"], "C");
}

#[test]
fn each_url_gets_its_own_key_and_no_other() {
    let [hosted, local] = [(); 2].map(|()| MockProvider::start(|_| Reply::text("yes")));
    let mut run = Run::on_prompts(&hosted, 1);
    run.weak = format!("small@{}", local.url());
    let grade = |keys: &[&str]| {
        let mut command = run.command(keys);
        let output = command.env("HOSTED", "sk-hosted").env("LOCAL", "sk-local").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    grade(&["--key-env", "HOSTED", "--journal", "one"]);
    assert_eq!(hosted.received()[0].key.as_deref(), Some("Bearer sk-hosted"));
    assert_eq!(local.received()[0].key, None);
    std::fs::remove_file(run.path("graded.jsonl")).unwrap();
    let for_local = format!("{}=LOCAL", local.url());
    grade(&["--key-env", "HOSTED", "--key-env", &for_local, "--journal", "two"]);
    assert_eq!(hosted.received()[1].key.as_deref(), Some("Bearer sk-hosted"));
    assert_eq!(local.received()[1].key.as_deref(), Some("Bearer sk-local"));
}

#[test]
fn a_dry_run_sends_and_writes_nothing() {
    let provider = MockProvider::start(|_| Reply::text("yes"));
    let run = Run::new(
        &provider,
        &[r#"{"text": "a"}"#, r#"{"text": "b", "answer": "yes"}"#, r#"{"text": "b", "answer": "yes"}"#],
    );
    let prices = ["--price", "small=1,2", "--price", "large=10,20", "--price", "judge=1,1"];
    let ended = run.succeed(&[&["--dry-run", "--judge", "judge"][..], &prices].concat());
    assert!(
        ended.printed.starts_with("2 prompts: 1 by answer, 1 by judge; 1 repeated prompts"),
        "{}",
        ended.printed
    );
    let row = |role: &str| {
        let line = ended.printed.lines().find(|line| line.starts_with(role)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("strong")[1..4], ["large", "2", "0"]);
    assert_eq!(row("judge")[1..4], ["judge", "2", "0"]);
    assert_eq!(row("all")[1], "6");
    // Two completions of 300 tokens at $20 per million, and a few for the prompts.
    assert!(row("strong")[4].starts_with("$0.012"), "{:?}", row("strong"));
    assert_eq!(provider.count(), 0);
    assert_eq!(run.folder.path().read_dir().unwrap().count(), 1, "only the rows are there");
}

/// The tokens of each prompt's weak and strong completion, as `win-rate` reads them.
fn read_by_win_rate(run: &Run<'_>) -> Vec<[Option<(f64, f64)>; 2]> {
    let fields = GradedFields { text: "text".to_owned(), group: "group".to_owned() };
    let found = GradedPrompts::read(&[run.path("graded.jsonl")], &fields).unwrap();
    assert_eq!(found.unreadable_usage.count, 0, "{:?}", found.unreadable_usage);
    let tokens = |completion: &Completion| completion.tokens.map(|it| (it.prompt, it.completion));
    found.prompts.iter().map(|prompt| [tokens(&prompt.weak), tokens(&prompt.strong)]).collect()
}

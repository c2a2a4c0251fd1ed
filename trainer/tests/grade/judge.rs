//! Rows that a judge compares.

use serde_json::json;

use crate::provider::{MockProvider, Received, Reply};
use crate::{Run, grades};

const PROMPTS: [&str; 2] = [r#"{"text": "Say hello."}"#, r#"{"text": "Say goodbye."}"#];
const JUDGE: [&str; 2] = ["--judge", "judge"];

/// Completions that name their model, and a judge.
fn with_judge(judge: impl Fn(&Received) -> String + Send + Sync + 'static) -> MockProvider {
    MockProvider::start(move |request| match request.model.as_str() {
        "judge" => Reply::Text(judge(request)),
        model => Reply::Text(format!("{} by {model}", request.prompt)),
    })
}

/// Whether the judge sees the large model's completion first.
fn large_is_first(request: &Received) -> bool {
    request.prompt.find("by large").unwrap() < request.prompt.find("by small").unwrap()
}

#[test]
fn a_judge_sees_both_orders_and_its_verdict_is_kept() {
    let provider = with_judge(|request| {
        format!("It is correct.\n[[{}]]", if large_is_first(request) { "A" } else { "B" })
    });
    let run = Run::new(&provider, &PROMPTS);
    let ended = run.succeed(&JUDGE);
    let graded = run.graded();
    assert_eq!(grades(&graded), [(0.0, 1.0), (0.0, 1.0)]);
    assert_eq!(
        graded[0]["judge"],
        json!({ "model": "judge", "verdict": "strong", "weak_first": "It is correct.\n[[B]]", "strong_first": "It is correct.\n[[A]]" })
    );
    let judged: Vec<_> = provider.received().into_iter().filter(|request| request.model == "judge").collect();
    assert_eq!(judged.len(), 4);
    assert_eq!(judged.iter().filter(|request| large_is_first(request)).count(), 2);
    assert!(judged.iter().all(|request| request.prompt.contains("user: Say ")));
    assert!(
        ended.printed.contains("the same verdict in both orders for 2 of 2 prompts"),
        "{}",
        ended.printed
    );
}

#[test]
fn a_judge_that_prefers_a_position_gives_ties() {
    let provider = with_judge(|_| "[[A]]".to_owned());
    let run = Run::new(&provider, &PROMPTS);
    let ended = run.succeed(&JUDGE);
    assert_eq!(grades(&run.graded()), [(0.5, 0.5), (0.5, 0.5)]);
    assert!(ended.printed.contains("in both orders for 0 of 2 prompts"), "{}", ended.printed);
}

#[test]
fn a_verdict_that_cannot_be_parsed_is_requested_once_more() {
    // The marker changes each time, so the requests differ: count by model.
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let provider = with_judge(move |_| match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => "I prefer B.".to_owned(),
        _ => "[[TIE]]".to_owned(),
    });
    let run = Run::new(&provider, &PROMPTS[..1]);
    run.succeed(&JUDGE);
    assert_eq!(grades(&run.graded()), [(0.5, 0.5)]);
    assert_eq!(provider.count(), 5);
}

#[test]
fn without_a_verdict_a_row_has_no_grades_and_is_not_paid_for_again() {
    let provider = with_judge(|request| match request.prompt.contains("hello") {
        true => "Both are fine. [[TIE]], I think.".to_owned(),
        false => "[[TIE]]".to_owned(),
    });
    let run = Run::new(&provider, &PROMPTS);
    let ended = run.succeed(&JUDGE);
    assert_eq!(run.graded().len(), 1);
    let ungraded = run.ungraded();
    assert_eq!(ungraded.len(), 1);
    assert_eq!((&ungraded[0]["text"], &ungraded[0]["method"]), (&json!("Say hello."), &json!("judge")));
    assert!(ungraded[0]["reason"].as_str().unwrap().contains("not a verdict in 2 attempts"));
    assert_eq!(ungraded[0]["weak_completion"], "Say hello. by small");
    assert!(ungraded[0].get("weak").is_none());
    assert!(
        ended.printed.contains("1 ungraded: the last line of judge judge was not a verdict"),
        "{}",
        ended.printed
    );
    let count = provider.count();
    assert_eq!(count, 4 + 4 + 2);
    run.succeed(&JUDGE);
    assert_eq!((provider.count(), run.ungraded()), (count, ungraded));
}

#[test]
fn the_same_text_is_a_tie_without_a_judge() {
    let provider = MockProvider::start(|_| Reply::text("Hello."));
    let run = Run::new(&provider, &PROMPTS[..1]);
    run.succeed(&JUDGE);
    assert_eq!(grades(&run.graded()), [(0.5, 0.5)]);
    assert_eq!(run.graded()[0]["judge"]["same_text"], true);
    assert_eq!(provider.count(), 2);
}

#[test]
fn rows_that_need_a_judge_are_counted_before_anything_is_sent() {
    let provider = MockProvider::start(|_| Reply::text("Hello."));
    let run = Run::new(&provider, &PROMPTS);
    let error = run.fail(&[]);
    assert!(error.contains("2 of 2 rows have no \"answer\"") && error.contains("--judge MODEL"), "{error}");
    assert_eq!(provider.count(), 0);
}

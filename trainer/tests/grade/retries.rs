//! Requests that fail and are sent again.

use std::time::{Duration, Instant};

use crate::Run;
use crate::provider::{MockProvider, Reply};

#[test]
fn transient_failures_are_retried() {
    let provider = MockProvider::start(|request| match (request.earlier, request.prompt.as_str()) {
        (0, "prompt 0") => Reply::error(500, "broken"),
        (0, "prompt 1") => Reply::error(503, "overloaded"),
        (0 | 1, "prompt 2") => Reply::error(429, "rate_limit_exceeded").with_header("retry-after-ms", "20"),
        (0, "prompt 3") => Reply::error(409, "conflict"),
        _ => Reply::text("yes"),
    });
    let run = Run::on_prompts(&provider, 5);
    let ended = run.succeed(&[]);
    assert_eq!(run.graded().len(), 5);
    assert_eq!(provider.count(), 10 + 10);
    assert!(ended.printed.contains("20 requests in all, 10 of this run repeated"), "{}", ended.printed);
}

#[test]
fn all_requests_wait_as_long_as_the_provider_asks() {
    let provider = MockProvider::start(|request| match (request.earlier, request.prompt.as_str()) {
        (0, "prompt 0") if request.model == "small" => {
            Reply::error(429, "rate_limit_exceeded").with_header("retry-after", "1")
        }
        _ => Reply::text("yes"),
    });
    let run = Run::on_prompts(&provider, 20);
    let start = Instant::now();
    // With one request at a time, the first one asks to wait, and no other one is sent before its second attempt.
    run.succeed(&["--concurrency", "1"]);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!((run.graded().len(), provider.count()), (20, 41));
}

#[test]
fn a_provider_that_asks_for_a_long_wait_ends_the_run() {
    for (asked, wait) in [("3600", "3600 s"), ("1e30", "18446744073709551615 s")] {
        let provider = MockProvider::start(move |_| {
            Reply::error(429, "rate_limit_exceeded").with_header("retry-after", asked)
        });
        let run = Run::on_prompts(&provider, 20);
        let error = run.fail(&["--concurrency", "1"]);
        assert!(
            error.contains(&format!("asks to wait for {wait}"))
                && error.contains("run the same command again"),
            "{error}"
        );
        assert_eq!(provider.count(), 1);
    }
}

#[test]
fn a_prompt_that_keeps_failing_is_left_ungraded_and_tried_again_by_the_next_run() {
    let provider = MockProvider::start(|request| match request.prompt.as_str() {
        "prompt 1" if request.model == "large" => Reply::error(500, "poison"),
        _ => Reply::text("yes"),
    });
    let run = Run::on_prompts(&provider, 3);
    run.succeed(&["--attempts", "3", "--concurrency", "1"]);
    assert_eq!((run.graded().len(), run.ungraded().len()), (2, 1));
    let reason = run.ungraded()[0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("large: failed 3 times") && reason.contains("poison"), "{reason}");
    assert_eq!(provider.count(), 5 + 3);
    run.succeed(&["--attempts", "2", "--concurrency", "1"]);
    assert_eq!(provider.count(), 5 + 3 + 2);
}

#[test]
fn a_provider_that_is_down_ends_the_run() {
    let provider = MockProvider::start(|_| Reply::error(502, "down"));
    let run = Run::on_prompts(&provider, 50);
    let error = run.fail(&["--attempts", "2", "--concurrency", "1"]);
    assert!(error.contains("3 requests in a row") && error.contains("this is down"), "{error}");
    assert!(provider.count() <= 8, "{}", provider.count());
}

#[test]
fn a_request_without_a_response_in_time_is_repeated() {
    let provider = MockProvider::start(|request| match (request.earlier, request.model.as_str()) {
        (0, "small") => Reply::Held("late".to_owned()),
        _ => Reply::text("yes"),
    });
    let run = Run::on_prompts(&provider, 1);
    let ended = run.succeed(&[
        "--timeout",
        "3s",
        "--price",
        "small=0,1000",
        "--price",
        "large=0,0",
        "--max-tokens",
        "100",
    ]);
    assert_eq!((run.graded().len(), provider.count()), (1, 3));
    // The provider may charge for the completion that nobody got: 100 tokens of it, and 10 of the other one.
    assert!(ended.printed.contains("$0.1100 spent"), "{}", ended.printed);
}

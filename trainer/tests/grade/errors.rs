//! Errors of providers and of users.

use serde_json::json;

use crate::Run;
use crate::provider::{MockProvider, Reply};

/// The requests that may be in flight when the first error ends a run.
const CONCURRENCY: &str = "2";

#[test]
fn an_error_that_all_requests_meet_ends_the_run_with_advice() {
    for (status, code, advice) in [
        (401, "invalid_api_key", "check the key in the environment variable MY_KEY"),
        (403, "forbidden", "the key may not use the model"),
        (404, "model_not_found", "check the model's name"),
        (429, "insufficient_quota", "add credit with the provider"),
        (400, "unsupported_parameter", "--body changes or removes members of the request"),
        (307, "moved", "redirects to http://127.0.0.1:1/elsewhere: use that URL"),
    ] {
        let provider = MockProvider::start(move |_| {
            Reply::error(status, code).with_header("location", "http://127.0.0.1:1/elsewhere")
        });
        let run = Run::on_prompts(&provider, 20);
        let mut command = run.command(&["--key-env", "MY_KEY", "--concurrency", CONCURRENCY]);
        let output = command.env("MY_KEY", "sk-secret").output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(advice), "{status}: {error}");
        assert!(error.contains(&format!("this is {code}")) && error.contains("0 of 20 prompts"), "{error}");
        assert!(provider.count() <= 2, "{status}: {} requests", provider.count());
    }
}

#[test]
fn a_key_that_a_provider_repeats_is_not_shown() {
    let provider = MockProvider::start(|request| {
        let message = format!("Incorrect API key provided: {}", request.key.as_deref().unwrap_or_default());
        Reply::Response { status: 401, headers: Vec::new(), body: json!({ "error": { "message": message } }) }
    });
    let run = Run::on_prompts(&provider, 1);
    let output = run.command(&[]).env("OPENAI_API_KEY", "sk-secret").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("Bearer [key]; check the key in the environment variable OPENAI_API_KEY"),
        "{error}"
    );
    for entry in run.folder.path().read_dir().unwrap() {
        let path = entry.unwrap().path();
        assert!(!std::fs::read_to_string(&path).unwrap().contains("sk-secret"), "{}", path.display());
    }
}

#[test]
fn a_key_in_the_url_of_a_redirect_is_not_shown() {
    let provider = MockProvider::start(|request| {
        let key = request.key.as_deref().unwrap_or_default().trim_start_matches("Bearer ");
        Reply::error(307, "moved").with_header("location", &format!("https://other/?key={key}"))
    });
    let run = Run::on_prompts(&provider, 1);
    let output = run.command(&[]).env("OPENAI_API_KEY", "sk-secret").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("redirects to https://other/?key=[key]"), "{error}");
    assert!(!error.contains("sk-secret"), "{error}");
}

#[test]
fn a_rejected_prompt_does_not_end_the_run() {
    let provider = MockProvider::start(|request| match (request.prompt.as_str(), request.model.as_str()) {
        ("prompt 0", "small") => Reply::error(400, "content_filter"),
        ("prompt 1", "large") => Reply::error(403, "rejected_by_policy"),
        // Once a request has succeeded, an invalid one is about its prompt.
        ("prompt 9", "large") => Reply::error(400, "invalid_request"),
        _ => Reply::text("yes"),
    });
    let run = Run::on_prompts(&provider, 10);
    let ended = run.succeed(&["--concurrency", "1"]);
    assert_eq!((run.graded().len(), run.ungraded().len()), (7, 3));
    let reasons: Vec<_> =
        run.ungraded().iter().map(|row| row["reason"].as_str().unwrap().to_owned()).collect();
    assert!(reasons[0].starts_with("small: 400 Bad Request: this is content_filter"), "{reasons:?}");
    assert!(
        reasons[1].contains("this is rejected_by_policy") && reasons[2].contains("invalid_request"),
        "{reasons:?}"
    );
    assert_eq!(run.ungraded()[0]["strong_completion"], "yes");
    assert!(ended.printed.contains("1 ungraded: small: 400"), "{}", ended.printed);
    // The provider would reject the first two again, so they are not sent again.
    let count = provider.count();
    run.succeed(&["--concurrency", "1"]);
    assert_eq!(provider.count(), count + 1);
}

#[test]
fn a_withheld_completion_is_not_graded() {
    let provider = MockProvider::start(|request| {
        let reason = if request.prompt == "prompt 0" { "content_filter" } else { "stop" };
        let body = json!({ "choices": [{ "message": { "content": "yes" }, "finish_reason": reason }] });
        Reply::Response { status: 200, headers: Vec::new(), body }
    });
    let run = Run::on_prompts(&provider, 2);
    run.succeed(&[]);
    assert_eq!((run.graded().len(), run.ungraded().len()), (1, 1));
    assert!(run.ungraded()[0]["reason"].as_str().unwrap().contains("content filter withheld"));
}

#[test]
fn a_completion_by_another_model_is_not_graded() {
    let provider = MockProvider::start(|request| {
        let fails_over = request.prompt == "prompt 3" && request.model == "large";
        let by = if fails_over { "small" } else { &request.model };
        Reply::text("yes").with_header("x-llm-router-model", by)
    });
    let run = Run::on_prompts(&provider, 5);
    run.succeed(&["--concurrency", "1"]);
    assert_eq!((run.graded().len(), run.ungraded().len()), (4, 1));
    let reason = run.ungraded()[0]["reason"].to_string();
    assert!(reason.contains("the request for \\\"large\\\" to the model \\\"small\\\""), "{reason}");

    // The name is an alias: nothing would ever be graded.
    let aliases = MockProvider::start(|_| Reply::text("yes").with_header("x-llm-router-model", "llama-8b"));
    let run = Run::on_prompts(&aliases, 20);
    let error = run.fail(&["--concurrency", CONCURRENCY]);
    assert!(error.contains("name a model of its policy, not an alias"), "{error}");
    assert!(aliases.count() <= 2);
}

#[test]
fn another_service_is_not_taken_for_a_provider() {
    for body in [json!("<html>"), json!({ "data": [] })] {
        let provider = MockProvider::start(move |_| Reply::Response {
            status: 200,
            headers: Vec::new(),
            body: body.clone(),
        });
        let run = Run::on_prompts(&provider, 20);
        let error = run.fail(&["--concurrency", CONCURRENCY]);
        assert!(error.contains("does not send chat completions"), "{error}");
        assert!(provider.count() <= 2);
    }
    let provider = MockProvider::start(|request| match request.prompt.as_str() {
        "prompt 1" => Reply::Text("yes".repeat(2 << 20)),
        _ => Reply::text("yes"),
    });
    let run = Run::on_prompts(&provider, 2);
    run.succeed(&["--concurrency", "1"]);
    assert!(run.ungraded()[0]["reason"].as_str().unwrap().contains("longer than 4 MiB"));
}

#[test]
fn invalid_options_are_rejected_before_anything_is_sent() {
    let provider = MockProvider::start(|_| Reply::text("yes"));
    let run = Run::on_prompts(&provider, 1);
    for (arguments, wrong) in [
        (
            &["--max-cost", "1"][..],
            "the price of the model \"small\" is missing: add --price small=INPUT,OUTPUT",
        ),
        (&["--price", "small=1,2"], "the price of the model \"large\" is missing"),
        (&["--price", "smal=1,2"], "--price smal: no such model is called, only [\"small\", \"large\"]"),
        (&["--body", "small={\"stream\": true}"], "\"stream\" cannot be set"),
        (&["--key-env", "NO_SUCH_KEY"], "the environment variable NO_SUCH_KEY is not set"),
        (&["--key-env", "http://127.0.0.1:1=K"], "no model has this URL"),
        (&["--key-env", "sk-secret"], "not the name of an environment variable"),
        (&["--key-env", "3f9secret"], "the environment variable that --key-env names is not set"),
        (&["--journal", "rows.jsonl"], "is an input of --data"),
        (&["--journal", "graded.jsonl"], "would be two of the graded rows"),
        (&["--journal", "graded.jsonl.ungraded.jsonl"], "would be two of the graded rows"),
        (&["--data", "."], "in a folder that is one"),
    ] {
        let error = run.fail(arguments);
        assert!(error.contains(wrong) && !error.contains("secret"), "{arguments:?}: {error}");
    }
    std::fs::write(run.path("bad.jsonl"), "{\"text\": \"a\", \"answer\": \"x\"}\n{\"text\": 1}\n").unwrap();
    let error = run.fail(&["--data", "bad.jsonl"]);
    assert!(error.contains("bad.jsonl, line 2: the field \"text\" must be a string"), "{error}");
    assert_eq!(provider.count(), 0);
}

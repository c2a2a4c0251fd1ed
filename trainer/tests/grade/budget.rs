//! A budget is never exceeded, and a used-up one can be raised.

use crate::Run;
use crate::provider::{MockProvider, Reply, TOKENS};

#[test]
fn no_more_requests_are_sent_than_allowed() {
    let provider = MockProvider::start(|request| match request.earlier {
        // Repeated requests count, too.
        0 if request.prompt.ends_with('3') => Reply::error(503, "overloaded"),
        _ => Reply::text("yes"),
    });
    let run = Run::on_prompts(&provider, 40);
    for limit in [13, 13, 30] {
        let ended = run.succeed(&["--max-requests", &limit.to_string(), "--concurrency", "8"]);
        assert_eq!(provider.count(), limit, "{}", ended.errors);
        let graded = run.graded().len();
        assert!((1..=limit / 2).contains(&graded), "{graded}");
        assert!(
            ended.errors.contains(&format!("--max-requests {limit} is used up: {graded} of 40")),
            "{}",
            ended.errors
        );
    }
    run.succeed(&[]);
    assert_eq!(run.graded().len(), 40);
    let twice = provider.counts().into_values().filter(|&count| count > 1).count();
    assert_eq!(twice, 8, "only requests that failed are sent twice");
}

#[test]
fn no_more_is_spent_than_allowed() {
    let provider = MockProvider::start(|_| Reply::text("yes"));
    let run = Run::on_prompts(&provider, 200);
    // 10 tokens in and out: $0.0002 and $0.002. The worst case of a request has 50 tokens out, and a token for each byte in.
    let prices =
        ["--price", "small=10,10", "--price", "large=100,100", "--max-tokens", "50", "--concurrency", "16"];
    let limit = 0.1;
    let ended = run.succeed(&[&prices[..], &["--max-cost", "0.1"]].concat());
    let spent = || {
        let price = |model: &str| if model == "small" { 20.0 } else { 200.0 };
        provider.received().iter().map(|request| price(&request.model)).sum::<f64>() * TOKENS as f64 / 1e6
    };
    assert!(spent() <= limit, "{}", spent());
    assert!(spent() > limit * 0.5, "the budget is used: {}", spent());
    let graded = run.graded().len();
    assert!(graded > 20 && ended.errors.contains("--max-cost 0.1 is used up: $0.0"), "{}", ended.errors);
    // Nothing more is spent, until the budget is raised.
    let count = provider.count();
    run.succeed(&[&prices[..], &["--max-cost", "0.1"]].concat());
    assert_eq!((provider.count(), run.graded().len()), (count, graded));
    run.succeed(&[&prices[..], &["--max-cost", "1"]].concat());
    assert_eq!((provider.count(), run.graded().len()), (400, 200));
}

#[test]
fn unknown_costs_of_earlier_runs_do_not_count_as_zero() {
    let provider = MockProvider::start(|_| Reply::text("yes"));
    let run = Run::on_prompts(&provider, 2);
    run.succeed(&[]);
    assert!(run.graded()[0]["cost_usd"].is_null());
    let prices = ["--price", "small=10,10", "--price", "large=100,100"];
    let error = run.fail(&[&prices[..], &["--max-cost", "1"]].concat());
    assert!(error.contains("4 requests of this journal were sent without prices"), "{error}");
    run.succeed(&prices);
    assert_eq!((run.graded()[0]["cost_usd"].as_f64(), provider.count()), (Some(0.0022), 4));
}

#[test]
fn prices_can_come_from_a_policy() {
    let provider = MockProvider::start(|_| Reply::text("yes"));
    let run = Run::on_prompts(&provider, 1);
    let policy = "sidecar: {cluster: c}\ndefault_policy: p\nmodels:\n  small: {cluster: c, model: s, cost: {input: 1, output: 1}}\n  big: \
                  {cluster: c, model: large, cost: {input: 10, output: 10}}\npolicies: {p: {classifier: task, routes: {}, default: small}}\n";
    std::fs::write(run.path("policy.yaml"), policy).unwrap();
    let ended = run.succeed(&["--policy", "policy.yaml", "--max-cost", "1"]);
    assert!(ended.printed.contains("$0.000220 spent"), "{}", ended.printed);
    let ended = run.succeed(&["--policy", "policy.yaml", "--price", "large=20,20"]);
    assert!(ended.printed.contains("wrote 1 rows"), "{}", ended.printed);
}

#[test]
fn a_failed_request_counts_what_the_provider_may_charge_for_it() {
    let provider = MockProvider::start(|request| match (request.earlier, request.model.as_str()) {
        (0, "small") => Reply::error(500, "broken"),
        (0, _) => Reply::Response {
            status: 200,
            headers: Vec::new(),
            body: serde_json::json!({ "error": { "message": "broken", "code": 429 } }),
        },
        _ => Reply::text("yes"),
    });
    let run = Run::on_prompts(&provider, 200);
    let prices = ["--price", "small=0,1000", "--price", "large=0,1000", "--max-tokens", "50"];
    let ended = run.succeed(&[&prices[..], &["--max-cost", "1"]].concat());
    assert!(ended.errors.contains("--max-cost 1 is used up"), "{}", ended.errors);
    // 50 tokens for each completion that may have been computed, and 10 for each that arrived.
    let cost = |earlier| if earlier == 0 { 0.05 } else { 0.01 };
    let spent: f64 = provider.received().iter().map(|request| cost(request.earlier)).sum();
    assert!((0.9..=1.0 + 1e-9).contains(&spent), "{spent}");
}

#[test]
fn the_larger_of_two_completion_limits_counts() {
    let provider = MockProvider::start(|_| Reply::text("yes"));
    let run = Run::on_prompts(&provider, 1);
    let prices = ["--price", "small=0,1000", "--price", "large=0,1000", "--max-tokens", "1000"];
    let body = [
        "--body",
        "small={\"max_completion_tokens\": 10}",
        "--body",
        "large={\"max_completion_tokens\": 10}",
    ];
    let ended = run.output(&[&prices[..], &body, &["--max-cost", "0.9"]].concat());
    assert!(ended.errors.contains("the next request may cost $1.00"), "{}", ended.errors);
    assert_eq!(provider.count(), 0);
}

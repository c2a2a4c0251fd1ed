//! From a gateway to one LLM to routing, in the steps of `docs/install-envoy.md`.

use std::process::Command;

use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::load::Load;
use llm_router_tests::mock_llms::MOCK_LLMS;
use llm_router_tests::sidecar::Sidecar;
use llm_router_tests::{poll, repository};

use crate::support::CODE;

/// The LLM that was there before.
const LLM: &str = "llama-8b";
/// The name of the mock LLM in the cluster `large`.
const LARGE: &str = "nemotron";

#[test]
fn the_page_shows_the_steps_as_they_are() {
    let page = std::fs::read_to_string(repository().join("docs/install-envoy.md")).expect("the page");
    let shown: Vec<_> = page.split("```diff\n").skip(1).filter_map(|it| it.split("```").next()).collect();
    let steps = ["before", "shadow", "percentage", "enforce"];
    let actual: Vec<_> = steps.windows(2).map(|pair| diff(pair[0], pair[1])).collect();
    assert_eq!(shown, actual);
}

#[test]
fn shadow_mode_is_at_most_60_lines_away() {
    let changed = diff("before", "shadow");
    let changed = changed.lines().filter(|line| line.starts_with(['+', '-'])).count();
    assert!(changed <= 60, "{changed} lines");
}

#[tokio::test]
async fn in_shadow_mode_everything_goes_on_as_before() {
    let gateway = start("shadow").await;
    let body = chat("my-model", CODE).to_string();
    let response = gateway.send(Request::chat(&body)).await;
    assert_eq!((response.status.as_u16(), response.header("x-served-by")), (200, LLM), "{response:?}");
    assert_eq!(response.header("x-llm-router-model"), "large");
    assert_eq!(response.header("x-llm-router-reason"), "shadow");
    assert_eq!(response.received().body, body);
}

#[tokio::test]
async fn a_fraction_of_the_requests_is_routed_and_taken_back_while_envoy_runs() {
    // One worker: once one request was treated by the new fraction, all are. Each step differs from the one before in
    // what a single request shows.
    let gateway = Envoy::start_with_workers(&bootstrap("percentage").await, 1).await;
    let load = Load::start(gateway.address(), 2, || Request::chat(chat("my-model", CODE)));
    for (percent, shows, expected) in
        [("0", false, 0..=0), ("100", true, 30..=30), ("0", false, 0..=0), ("50", true, 1..=29)]
    {
        gateway.set_runtime("llm_router.percent", percent).await;
        poll(async || if is_routed(&gateway).await == shows { Ok(()) } else { Err(percent) }).await;
        let mut routed = 0;
        for _ in 0..30 {
            routed += usize::from(is_routed(&gateway).await);
        }
        assert!(expected.contains(&routed), "at {percent} %, {routed} of 30 were routed");
    }
    load.stop().await.assert_all_served();
}

#[tokio::test]
async fn in_the_end_all_requests_are_routed() {
    let gateway = start("enforce").await;
    let response = gateway.send(Request::chat(chat("my-model", CODE)).header("x-llm-cluster", "llm")).await;
    assert_eq!(
        (response.header("x-served-by"), response.header("x-llm-router-model")),
        (LARGE, "large"),
        "{response:?}"
    );
}

async fn start(step: &str) -> Envoy {
    Envoy::start(&bootstrap(step).await).await
}

async fn bootstrap(step: &str) -> Bootstrap {
    let mut bootstrap = Bootstrap::install(step).cluster("llm", MOCK_LLMS.address(LLM));
    if step != "shadow" {
        bootstrap = bootstrap.cluster("small", MOCK_LLMS.address("llama-70b"));
        bootstrap = bootstrap.cluster("large", MOCK_LLMS.address(LARGE));
    }
    bootstrap.with_long_timeouts().sidecar(Sidecar::shared().await.address())
}

/// Whether one request was routed, and not only forwarded. Checks that all signs of it agree.
async fn is_routed(gateway: &Envoy) -> bool {
    let response = gateway.send(Request::chat(chat("my-model", CODE))).await;
    assert_eq!(response.status, 200, "{response:?}");
    let routed = response.header("x-llm-router-model") == "large";
    assert_eq!(response.header("x-served-by"), if routed { LARGE } else { LLM }, "{response:?}");
    routed
}

/// What `diff -u` prints, without the files' names.
fn diff(from: &str, to: &str) -> String {
    let file = |step| repository().join(format!("envoy/install/{step}.yaml"));
    let output = Command::new("diff").arg("-u").args([file(from), file(to)]).output().expect("diff");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.split_inclusive('\n').skip(2).collect()
}

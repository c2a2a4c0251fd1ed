//! From a gateway to one LLM to routing, in the steps of `docs/install-envoy.md`.

use std::process::Command;

use llm_router_tests::bootstrap::Bootstrap;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::fleet::FLEET;
use llm_router_tests::load::Load;
use llm_router_tests::repository;
use llm_router_tests::sidecar::Sidecar;
use tokio::time::{Duration, sleep};

use crate::{CODE, received};

/// The LLM that was there before.
const LLM: &str = "llama-8b";
/// What the stand-in of the cluster `large` calls itself.
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
fn to_shadow_it_is_at_most_60_lines() {
    let changed = diff("before", "shadow");
    let changed = changed.lines().filter(|line| line.starts_with(['+', '-'])).count();
    assert!(changed <= 60, "{changed} lines");
}

#[tokio::test]
async fn in_shadow_all_goes_on_as_before() {
    let gateway = start("shadow").await;
    let body = chat("my-model", CODE).to_string();
    let answer = gateway.send(Request::chat(&body)).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-served-by")), (200, LLM), "{answer:?}");
    assert_eq!(answer.header("x-llm-router-model"), "large");
    assert_eq!(answer.header("x-llm-router-reason"), "shadow");
    assert_eq!(received(&answer).body, body);
}

#[tokio::test]
async fn a_share_of_the_requests_is_routed_and_taken_back_while_envoy_runs() {
    let gateway = start("percentage").await;
    let load = Load::start(&gateway, 2, || Request::chat(chat("my-model", CODE)));
    for percent in ["0", "50", "100"] {
        gateway.set_runtime("llm_router.percent", percent).await;
        // Workers take it over when they are told.
        sleep(Duration::from_millis(200)).await;
        let mut served = Vec::new();
        for _ in 0..30 {
            let answer = gateway.send(Request::chat(chat("my-model", CODE))).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            // Routed or not seen at all, never half of it.
            let routed = answer.header("x-llm-router-model") == "large";
            assert_eq!(answer.header("x-served-by"), if routed { LARGE } else { LLM }, "{answer:?}");
            served.push(routed);
        }
        let routed = served.iter().filter(|routed| **routed).count();
        let expected = match percent {
            "0" => routed == 0,
            "100" => routed == 30,
            _ => (1..30).contains(&routed),
        };
        assert!(expected, "at {percent} %, {routed} of 30 were routed");
    }
    // The way back.
    gateway.set_runtime("llm_router.percent", "0").await;
    sleep(Duration::from_millis(200)).await;
    let answer = gateway.send(Request::chat(chat("my-model", CODE))).await;
    assert_eq!(answer.header("x-served-by"), LLM);
    load.stop().await.assert_all_served();
}

#[tokio::test]
async fn at_the_end_all_are_routed() {
    let gateway = start("enforce").await;
    let answer = gateway.send(Request::chat(chat("my-model", CODE)).header("x-llm-cluster", "llm")).await;
    assert_eq!(
        (answer.header("x-served-by"), answer.header("x-llm-router-model")),
        (LARGE, "large"),
        "{answer:?}"
    );
}

async fn start(step: &str) -> Envoy {
    let mut bootstrap = Bootstrap::install(step).cluster("llm", FLEET.address(LLM));
    if step != "shadow" {
        bootstrap = bootstrap.cluster("small", FLEET.address("llama-70b"));
        bootstrap = bootstrap.cluster("large", FLEET.address(LARGE));
    }
    Envoy::start(&bootstrap.patient().sidecar(Sidecar::shared().await.address)).await
}

/// What `diff -u` says, without the files' names.
fn diff(from: &str, to: &str) -> String {
    let file = |step| repository().join(format!("envoy/install/{step}.yaml"));
    let output = Command::new("diff").arg("-u").args([file(from), file(to)]).output().expect("diff");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.split_inclusive('\n').skip(2).collect()
}

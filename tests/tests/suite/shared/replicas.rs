//! Three sidecars, and what happens to requests when one of them fails: `envoy/replicas.yaml`. With `--nocapture`, it
//! prints the figures of `docs/operations.md`.

use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::host::Host;
use llm_router_tests::load::Load;
use llm_router_tests::mock_llms::MOCK_LLMS;
use llm_router_tests::sidecar::Sidecar;
use llm_router_tests::{for_each_host_inside_envoy, poll};
use macro_rules_attribute::apply;
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use crate::support::{CODE, assert_routed};

/// The policy's `sidecar.timeout`, the longest that a request waits.
const DEADLINE: Duration = Duration::from_millis(200);
/// What a machine that runs other tests may add. Deadline and slack are below Envoy's other limits, of 15 s and more.
const SLACK: Duration = Duration::from_secs(5);
/// How long requests are measured after something happened to a sidecar.
const MEASURED: Duration = Duration::from_secs(2);

#[apply(for_each_host_inside_envoy!)]
async fn a_sidecar_that_dies_hangs_or_leaves_costs_no_request(host: Host) {
    let sidecars = [Sidecar::alone().await, Sidecar::alone().await, Sidecar::alone().await];
    let mut bootstrap = MOCK_LLMS.behind(host.replicas_bootstrap());
    for (place, sidecar) in sidecars.iter().enumerate() {
        bootstrap = bootstrap.endpoint("llm-router-sidecar", place, sidecar.address());
    }
    let uncached = |policy: &mut Value| policy["cache"] = json!({ "entries": 0 });
    let gateway = Envoy::start(&bootstrap.policy(uncached)).await;
    until_classified(&gateway).await;

    let [dies, hangs, leaves] = &sidecars;
    measure(&gateway, "nothing", || {}).await;
    measure(&gateway, "one hangs", || hangs.signal("STOP")).await;
    measure(&gateway, "it goes on", || hangs.signal("CONT")).await;
    measure(&gateway, "one leaves", || leaves.signal("TERM")).await;
    measure(&gateway, "one dies", || dies.signal("KILL")).await;
    // One is left.
    until_classified(&gateway).await;
    hangs.signal("KILL");
    measure(&gateway, "the last dies", || {}).await;
}

/// Sends requests before, while and after `happens`; all must be served.
async fn measure(gateway: &Envoy, name: &str, happens: impl FnOnce()) {
    let load = Load::start(gateway.address(), 3, || Request::chat(chat("auto", CODE)));
    load.more(20).await;
    happens();
    sleep(MEASURED).await;
    let outcome = load.stop().await;
    outcome.assert_all_served();
    let count = outcome.responses.len();
    let classified = outcome.with("x-llm-router-reason", "classified");
    let [p50, p99] = [50.0, 99.0].map(|percent| outcome.percentile(percent));
    eprintln!("{name}: {count} requests, {classified} classified, p50 {p50:.0?}, p99 {p99:.0?}");
    assert_eq!(classified + outcome.with("x-llm-router-reason", "classifier_unavailable"), count);
    assert!(p99 < DEADLINE + SLACK, "{name}: p99 {p99:?}");
}

async fn until_classified(gateway: &Envoy) {
    let response = poll(async || {
        let response = gateway.send(Request::chat(chat("auto", CODE))).await;
        let classified = response.header("x-llm-router-reason") == "classified";
        if classified { Ok(response) } else { Err(response) }
    })
    .await;
    assert_routed(&response, "nemotron", "classified");
}

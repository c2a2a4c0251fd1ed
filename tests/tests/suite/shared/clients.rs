//! The clients that applications use, through the gateway: the programs in `tests/clients`.

use std::process::Command;
use std::time::Duration;

use llm_router_test_support::process::Process;
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::for_each_host;
use llm_router_tests::host::{Host, PerHost};
use llm_router_tests::{poll_for, repository, scratch_file};
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{route_both_apis, without_sidecar};

/// The limit for one program: they import for seconds, and mock LLMs stream at a model's pace.
const LIMIT: Duration = Duration::from_secs(240);

/// Where `scripts/setup --only clients` installs the clients.
const INSTALLED: &str = ".setup/clients";

async fn gateway(host: Host) -> &'static ScriptedGateway {
    static SHARED: PerHost<ScriptedGateway> = PerHost::new();
    let policy = |it: &mut Value| {
        route_both_apis(it);
        it["policies"]["always_70b"] = json!({ "classifier": "task", "routes": {}, "default": "llama-70b" });
        it["aliases"]["claude-sonnet-4-5"] = json!("claude-deep");
        it["on_unknown_model"] = json!("reject");
        it["cache"] = json!({ "entries": 1000 });
    };
    SHARED.get_or_start(host, || ScriptedGateway::start(without_sidecar(host).policy(policy), 1)).await
}

#[apply(for_each_host!)]
async fn python_clients_get_what_they_expect(host: Host) {
    let mut pytest = Command::new(repository().join(INSTALLED).join("python/bin/pytest"));
    pytest.args(["--quiet", "--tb=short", "-p", "no:cacheprovider", "tests/clients/python"]);
    pytest.env("PYTHONDONTWRITEBYTECODE", "1").env("LANGSMITH_TRACING", "false");
    assert_passes(host, pytest).await;
}

#[apply(for_each_host!)]
async fn node_clients_get_what_they_expect(host: Host) {
    let mut node = Command::new("node");
    node.args(["--test", "tests/clients/node/"]);
    node.env("NODE_PATH", repository().join(INSTALLED).join("node/node_modules"));
    assert_passes(host, node).await;
}

/// Runs the program against the host's gateway.
async fn assert_passes(host: Host, mut program: Command) {
    let installed = repository().join(INSTALLED);
    assert!(installed.is_dir(), "{INSTALLED} is missing: run `scripts/setup --only clients`");
    let url = format!("http://{}", gateway(host).await.envoy.address());
    program.current_dir(repository()).env("GATEWAY_URL", url).env("NO_PROXY", "127.0.0.1");
    let process = Process::spawn(&program, scratch_file("client", "log")).expect("starting the program");
    let status = poll_for(LIMIT, async || process.exit_status().ok_or_else(|| process.log_tail())).await;
    assert!(status.success(), "{status}\n{}", process.output());
}

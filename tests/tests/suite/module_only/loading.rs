//! Another version of the module while Envoy runs. Envoy keeps the code that it has loaded from a path, so a new version needs a
//! new file name.

use std::path::PathBuf;

use llm_router_test_support::artifacts::MODULE;
use llm_router_tests::client::{Request, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::host::Host;
use llm_router_tests::load::Load;
use llm_router_tests::{fresh, poll, scratch_file};
use serde_json::json;

use crate::support::without_sidecar;

#[tokio::test]
async fn a_module_under_a_new_name_takes_over_and_the_old_one_is_unloaded() {
    let (old, new) = (copy_of_the_module(), copy_of_the_module());
    let configuration = scratch_file("filter", "yaml");
    let put = |module: &PathBuf, alias: &str| {
        let bootstrap = without_sidecar(Host::Module).module_file(module);
        bootstrap.policy(|policy| policy["aliases"]["gpt-4o"] = json!(alias)).discovering(&configuration)
    };
    let gateway = Envoy::start(&put(&old, "llama-8b")).await;
    let load = Load::start(gateway.address(), 3, || Request::chat(chat("gpt-4o", "Hi")));
    load.more(20).await;
    let _ = put(&new, "nemotron");
    poll(async || {
        let response = gateway.send(Request::chat(chat("gpt-4o", "Hi"))).await;
        if response.header("x-llm-router-model") == "nemotron" { Ok(()) } else { Err(response) }
    })
    .await;
    load.more(20).await;
    let outcome = load.stop().await;
    outcome.assert_all_served();
    assert_eq!(outcome.with("x-llm-router-reason", "alias"), outcome.responses.len());
    poll(async || {
        let mapped = gateway.mapped_files();
        let is_mapped = |module: &PathBuf| mapped.contains(&*module.to_string_lossy());
        if is_mapped(&new) && !is_mapped(&old) { Ok(()) } else { Err(mapped) }
    })
    .await;
}

#[tokio::test]
async fn new_content_under_the_same_name_is_warned_of() {
    let module = copy_of_the_module();
    let configuration = scratch_file("filter", "yaml");
    let put = |alias: &str| {
        let bootstrap = without_sidecar(Host::Module).module_file(&module);
        bootstrap.policy(|policy| policy["aliases"]["gpt-4o"] = json!(alias)).discovering(&configuration)
    };
    let gateway = Envoy::start(&put("llama-8b")).await;
    std::fs::rename(copy_of_the_module(), &module).expect("the file's new content");
    let _ = put("nemotron");
    gateway.log_has("has changed since Envoy loaded it").await;
}

#[tokio::test]
async fn an_envoy_with_the_module_ends_in_order() {
    for _ in 0..10 {
        let gateway = Envoy::start(&without_sidecar(Host::Module)).await;
        let response = gateway.send(Request::chat(chat("llama-8b", "Hi"))).await;
        assert_eq!(response.status, 200);
        assert_eq!(gateway.terminate().await.code(), Some(0));
    }
}

fn copy_of_the_module() -> PathBuf {
    let copy = scratch_file("libllm_router", "so");
    std::fs::copy(fresh(&MODULE), &copy).expect("a copy of the module");
    copy
}

//! Configuration from files that change while requests go on: `envoy/dynamic/` and `envoy/module-dynamic/`.

use std::path::PathBuf;

use llm_router_tests::bootstrap::{Bootstrap, read};
use llm_router_tests::client::{Request, Response, chat};
use llm_router_tests::envoy::Envoy;
use llm_router_tests::host::Host;
use llm_router_tests::load::Load;
use llm_router_tests::mock_llms::MOCK_LLMS;
use llm_router_tests::{for_each_host_inside_envoy, poll, refusing_address, scratch_file};
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::assert_routed;

const POLICIES: [&str; 2] =
    ["/resources/0/typed_config/config/configuration/value", "/resources/0/typed_config/filter_config/value"];
const CONNECTION_MANAGER: &str = "/resources/0/filter_chains/0/filters/0/typed_config";

#[apply(for_each_host_inside_envoy!)]
async fn policy_clusters_and_listener_change_under_load_and_no_request_fails(host: Host) {
    let files = Files::new(host);
    let gateway = Envoy::start(&Bootstrap::dynamic(host, &files.folder)).await;
    // No sidecar is needed for these.
    let load = Load::start(gateway.address(), 3, || Request::chat(chat("gpt-4o", "Hi")));
    for model in ["nemotron", "llama-8b", "llama-70b"] {
        files.put_policy(|policy| policy["aliases"]["gpt-4o"] = json!(model));
        until(&gateway, |response| response.header("x-llm-router-model") == model).await;
    }
    // Another address, and one more cluster.
    files.put("clusters.yaml", |clusters| {
        point(clusters, "llama-70b", MOCK_LLMS.address("nemotron"));
        let mut new = clusters["resources"][0].clone();
        (new["name"], new["load_assignment"]["cluster_name"]) = (json!("new"), json!("new"));
        clusters["resources"].as_array_mut().expect("clusters").push(new);
    });
    until(&gateway, |response| response.header("x-served-by") == "nemotron").await;
    // A cluster comes before the policy that names it.
    files.put_policy(|policy| policy["models"]["llama-70b"]["cluster"] = json!("new"));
    until(&gateway, |response| response.header("x-served-by") == "llama-8b").await;
    files.put("listeners.yaml", |listeners| {
        let manager = listeners.pointer_mut(CONNECTION_MANAGER).expect("a connection manager");
        let header = json!([{ "header": { "key": "x-new-listener", "value": "yes" } }]);
        manager["route_config"]["response_headers_to_add"] = header;
    });
    until(&gateway, |response| response.header("x-new-listener") == "yes").await;
    let outcome = load.stop().await;
    outcome.assert_all_served();
    assert!(outcome.with("x-llm-router-model", "nemotron") > 0, "the load did not see the changes");
}

#[apply(for_each_host_inside_envoy!)]
async fn an_invalid_policy_is_rejected_and_the_one_before_stays_in_force(host: Host) {
    let files = Files::new(host);
    let gateway = Envoy::start(&Bootstrap::dynamic(host, &files.folder)).await;
    files.put_policy(|policy| policy["aliases"]["gpt-4o"] = json!("nemotron"));
    until(&gateway, |response| response.header("x-llm-router-model") == "nemotron").await;
    let load = Load::start(gateway.address(), 2, || Request::chat(chat("gpt-4o", "Hi")));
    files.put_policy(|policy| policy["aliases"]["gpt-4o"] = json!("lama-70b"));
    gateway.log_has("aliases.gpt-4o: no model \"lama-70b\"").await;
    assert_routed(&gateway.send(Request::chat(chat("gpt-4o", "Hi"))).await, "nemotron", "alias");
    // The next good one is taken.
    files.put_policy(|policy| policy["aliases"]["gpt-4o"] = json!("llama-8b"));
    until(&gateway, |response| response.header("x-llm-router-model") == "llama-8b").await;
    let outcome = load.stop().await;
    outcome.assert_all_served();
    assert_eq!(
        outcome.with("x-llm-router-reason", "alias"),
        outcome.responses.len(),
        "a request went past the filter"
    );
}

#[test]
fn its_files_are_the_parts_of_the_static_bootstrap() {
    let stripped = |mut all: Value| {
        for one in all.as_array_mut().expect("resources") {
            one.as_object_mut().expect("a resource").remove("@type");
        }
        all
    };
    let parts =
        ["clusters.yaml", "listeners.yaml", "policy.yaml"].map(|name| read(&format!("dynamic/{name}")));
    let [clusters, mut listeners, mut policy] = parts.map(|it| stripped(it["resources"].clone()));
    let filter = listeners[0]["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][0]
        .as_object_mut()
        .expect("the filter");
    filter.remove("config_discovery").expect("where the filter is");
    filter.insert("typed_config".to_owned(), policy[0]["typed_config"].take());
    let whole = read("wasm.yaml");
    assert_eq!(clusters, whole["static_resources"]["clusters"]);
    assert_eq!(listeners, whole["static_resources"]["listeners"]);
    assert_eq!(read("dynamic/bootstrap.yaml")["stats_config"], whole["stats_config"]);
}

/// Copies of the files that Envoy watches, on any free ports.
struct Files {
    host: Host,
    folder: PathBuf,
}

impl Files {
    fn new(host: Host) -> Self {
        let folder = scratch_file("dynamic", "d");
        std::fs::create_dir_all(&folder).expect("a folder");
        let files = Self { host, folder };
        files.put_policy(|_| {});
        files.put("clusters.yaml", |_| {});
        files.put("listeners.yaml", |_| {});
        files
    }

    /// Puts the shipped policy there, changed.
    fn put_policy(&self, change: impl FnOnce(&mut Value)) {
        self.put("policy.yaml", |file| {
            let pointer = POLICIES.into_iter().find(|pointer| file.pointer(pointer).is_some());
            change(pointer.and_then(|it| file.pointer_mut(it)).expect("a policy"));
        });
    }

    /// Puts the shipped file there, changed, by a move: Envoy watches for nothing else.
    fn put(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut file = read(&format!("{}/{name}", self.host.dynamic_folder()));
        match name {
            "clusters.yaml" => {
                for cluster in ["llama-8b", "llama-70b", "nemotron"] {
                    point(&mut file, cluster, MOCK_LLMS.address(cluster));
                }
                point(&mut file, "llm-router-sidecar", refusing_address());
            }
            "listeners.yaml" => {
                file["resources"][0]["address"]["socket_address"]["port_value"] = json!(0);
                let manager = file.pointer_mut(CONNECTION_MANAGER).expect("a connection manager");
                let source = &mut manager["http_filters"][0]["config_discovery"]["config_source"];
                source["path_config_source"]["path"] = json!(self.folder.join("policy.yaml"));
            }
            _ => {}
        }
        change(&mut file);
        let new = self.folder.join("new");
        std::fs::write(&new, file.to_string()).expect("the new file");
        std::fs::rename(new, self.folder.join(name)).expect("the new file in its place");
    }
}

fn point(clusters: &mut Value, name: &str, address: std::net::SocketAddr) {
    let all = clusters["resources"].as_array_mut().expect("clusters");
    let cluster = all.iter_mut().find(|cluster| cluster["name"] == name).expect("the cluster");
    let endpoint = &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
    endpoint["address"]["socket_address"]["port_value"] = json!(address.port());
}

/// Sends requests until a response is as it must be after a change.
async fn until(gateway: &Envoy, holds: impl Fn(&Response) -> bool) {
    poll(async || {
        let response = gateway.send(Request::chat(chat("gpt-4o", "Hi"))).await;
        if holds(&response) { Ok(()) } else { Err(response) }
    })
    .await;
}

//! Replays the blueprint's rule on every fixture, and compares with where `explain` says that a request goes.
//!
//! The rule: of the policy with the name, the first one, a classified request goes to the LLM at the position of the
//! label, and a manual one to the first LLM with exactly the name.

use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{fixture, import, llm_router, text};

#[derive(Deserialize)]
struct Policy {
    name: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    llms: Vec<Llm>,
}

#[derive(Deserialize)]
struct Llm {
    name: String,
    api_base: String,
    model: String,
}

/// The labels of the blueprint's task classifier, in its order, which are our head's.
const TASKS: [&str; 12] = [
    "Brainstorming",
    "Chatbot",
    "Classification",
    "Closed QA",
    "Code Generation",
    "Extraction",
    "Open QA",
    "Other",
    "Rewrite",
    "Summarization",
    "Text Generation",
    "Unknown",
];

/// Our names of the dimensions of the blueprint's complexity classifier, in its order.
const DIMENSIONS: [&str; 7] = [
    "creativity",
    "reasoning",
    "contextual_knowledge",
    "few_shots",
    "domain_knowledge",
    "no_label_reason",
    "constraints",
];

/// Where a request goes: the URL and the body's `model`.
type Called = (String, String);

impl Llm {
    fn called(&self) -> Called {
        let base = self.api_base.trim_end_matches('/').trim_end_matches("/v1");
        (normal(&format!("{base}/v1/chat/completions")), self.model.clone())
    }
}

fn normal(url: &str) -> String {
    Url::parse(url).unwrap().to_string()
}

/// The blueprint's policy of each name.
fn policies_of(configuration: &str) -> Vec<Policy> {
    let value: Value = serde_saphyr::from_str(configuration).unwrap();
    let mut policies: Vec<Policy> = serde_json::from_value(value["policies"].clone()).unwrap();
    policies.retain(|policy| !policy.llms.is_empty());
    let mut first: Vec<Policy> = Vec::new();
    for policy in policies {
        if first.iter().all(|other| other.name.trim() != policy.name.trim()) {
            first.push(policy);
        }
    }
    first
}

/// An imported file, queried by `explain`.
struct Router {
    folder: tempfile::TempDir,
    imported: Value,
}

impl Router {
    fn new(file: &str) -> Self {
        let imported = import(file).0;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("policy.json"), imported["policy"].to_string()).unwrap();
        Self { folder, imported }
    }

    fn called(&self, metadata: &Value, prediction: &[&str]) -> Called {
        let request = self.folder.path().join("request.json");
        let body = json!({"messages": [{"role": "user", "content": "hi"}], "nim-llm-router": metadata});
        std::fs::write(&request, body.to_string()).unwrap();
        let policy = self.folder.path().join("policy.json");
        let files = [policy.to_str().unwrap(), request.to_str().unwrap()];
        let output = llm_router(&[&["explain", "--json"], &files[..], prediction].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let outcome = serde_json::from_slice::<Value>(&output.stdout).unwrap()["outcome"].clone();
        assert_eq!(outcome["action"], "forward", "{metadata}: {outcome}");
        let path = outcome["headers"][":path"].as_str().unwrap_or("/v1/chat/completions");
        let url = format!("{}{path}", self.origin(&outcome));
        (normal(&url), outcome["upstream_model"].as_str().unwrap().to_owned())
    }

    /// Where the cluster connects to, which must be what the request's `:authority` says.
    fn origin(&self, outcome: &Value) -> String {
        let clusters = self.imported["clusters"].as_array().unwrap();
        let named: Vec<_> = clusters.iter().filter(|cluster| cluster["name"] == outcome["cluster"]).collect();
        let [cluster] = named[..] else { panic!("{} clusters {}", named.len(), outcome["cluster"]) };
        let endpoint = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
        let endpoint = cluster.pointer(endpoint).unwrap();
        let scheme = if cluster.get("transport_socket").is_some() { "https" } else { "http" };
        let host = endpoint["address"].as_str().unwrap();
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let origin = format!("{scheme}://{host}:{}", endpoint["port_value"]);
        let authority = outcome["headers"][":authority"].as_str().unwrap();
        assert_eq!(normal(&origin), normal(&format!("{scheme}://{authority}")));
        origin
    }

    fn expect_all(&self, policy: &Policy) {
        let name = policy.name.trim();
        let labels = policy.labels();
        let metadata = json!({"policy": name, "routing_strategy": "triton"});
        let unclassified = self.called(&metadata, &[]);
        for (position, label) in labels.iter().enumerate() {
            // The blueprint fails where it has no LLM.
            let expected = policy.llms.get(position).map_or(unclassified.clone(), Llm::called);
            let dimension = format!("{label}=0.9");
            let called = match labels.len() {
                7 => self.called(&metadata, &["--score", "0.5", "--dimension", &dimension]),
                _ => self.called(&metadata, &["--label", label]),
            };
            assert_eq!(called, expected, "{name}: {label}");
        }
        for llm in &policy.llms {
            let first = policy.llms.iter().find(|other| other.name == llm.name).unwrap();
            let metadata = json!({"policy": name, "routing_strategy": "manual", "model": llm.name});
            assert_eq!(self.called(&metadata, &[]), first.called(), "{name}: manual {}", llm.name);
        }
    }
}

impl Policy {
    /// The labels of its classifier, in their order.
    fn labels(&self) -> Vec<&str> {
        let names = self.llms.iter().map(|llm| llm.name.as_str());
        match self.url.split('/').nth(5) {
            Some("task_router_ensemble") => TASKS.to_vec(),
            Some("complexity_router_ensemble") => DIMENSIONS.to_vec(),
            // A custom one has the names for its labels.
            Some("intent_router_ensemble") => names.collect(),
            _ => Vec::new(),
        }
    }
}

fn expect_alike(name: &str, configuration: &str, count: usize) {
    let policies = policies_of(configuration);
    assert_eq!(policies.len(), count);
    let router = Router::new(&fixture(name));
    policies.iter().for_each(|policy| router.expect_all(policy));
}

fn read(name: &str) -> String {
    std::fs::read_to_string(fixture(name)).unwrap()
}

/// The configuration in a text at a place of a fixture.
fn text_at(name: &str, pointer: &str) -> String {
    let value: Value = serde_saphyr::from_str(&read(name)).unwrap();
    value.pointer(pointer).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn the_blueprints_own_configuration_routes_alike() {
    expect_alike("blueprint.yaml", &read("blueprint.yaml"), 2);
}

#[test]
fn classes_in_any_order_number_and_name_route_alike() {
    expect_alike("positions.yaml", &read("positions.yaml"), 4);
}

#[test]
fn a_fork_with_servers_and_models_that_look_alike_routes_alike() {
    expect_alike("fork.yaml", &read("fork.yaml"), 2);
}

#[test]
fn a_custom_ensemble_routes_alike_by_its_labels() {
    expect_alike("custom.yaml", &read("custom.yaml"), 2);
}

#[test]
fn configurations_inside_other_files_route_alike() {
    expect_alike("configmap.yaml", &text_at("configmap.yaml", "/items/1/data/config.yaml"), 1);
    expect_alike(
        "helm-values.yaml",
        &text_at("helm-values.yaml", "/routerController/config/customConfig"),
        1,
    );
    expect_alike("compose.yaml", &text_at("compose.yaml", "/configs/router/content"), 1);
    let template = read("helm-template.yaml");
    let (_, after) = template.split_once("config.yaml: |-\n").unwrap();
    expect_alike("helm-template.yaml", after.split_once("\n{{-").unwrap().0, 1);
}

#[test]
fn the_charts_template_routes_alike() {
    let value: Value = serde_saphyr::from_str(&read("chart-values.yaml")).unwrap();
    let config = &value["routerController"]["config"];
    let class = |name: &str, key: &str| json!({"name": name, "api_base": config["apiBase"], "model": config["models"][key]});
    let camel = |name: &str| {
        let joined = name.replace([' ', '-'], "");
        joined[..1].to_lowercase() + &joined[1..]
    };
    let dimensions = [
        "Creativity",
        "Reasoning",
        "Contextual-Knowledge",
        "Few-Shot",
        "Domain-Knowledge",
        "No-Label-Reason",
        "Constraint",
    ];
    let policy = |name: &str, classes: &[&str]| {
        let llms: Vec<_> = classes.iter().map(|name| class(name, &camel(name))).collect();
        json!({"name": name, "url": format!("http://s/v2/models/{name}_ensemble/infer"), "llms": llms})
    };
    let policies = [policy("task_router", &TASKS), policy("complexity_router", &dimensions)];
    expect_alike("chart-values.yaml", &json!({"policies": policies}).to_string(), 2);
}

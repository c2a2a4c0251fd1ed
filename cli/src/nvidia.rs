//! Turns the configuration of NVIDIA's LLM Router blueprint v1 into our policy and Envoy clusters.

mod server;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use server::server;

/// A blueprint's `config.yaml`.
#[derive(Debug, Deserialize)]
pub(crate) struct Blueprint {
    policies: Vec<BlueprintPolicy>,
}

#[derive(Debug, Deserialize)]
struct BlueprintPolicy {
    name: String,
    url: Option<String>,
    llms: Vec<BlueprintLlm>,
}

#[derive(Debug, Deserialize)]
struct BlueprintLlm {
    /// The class, which is also what clients name in manual routing.
    name: String,
    api_base: String,
    api_key: Option<String>,
    model: String,
}

/// What an import makes.
#[derive(Debug)]
pub(crate) struct Import {
    /// Our policy.
    pub(crate) policy: Value,
    /// An Envoy cluster for each LLM server.
    pub(crate) clusters: Vec<Value>,
    /// What could not be carried over, and what to do about it.
    pub(crate) notes: Vec<String>,
}

/// Classes of the blueprint's complexity classifier, and the dimensions that our classifier calls them.
const COMPLEXITY: [(&str, &str); 7] = [
    ("Creativity", "creativity"),
    ("Reasoning", "reasoning"),
    ("Contextual-Knowledge", "contextual_knowledge"),
    ("Few-Shot", "few_shots"),
    ("Domain-Knowledge", "domain_knowledge"),
    ("No-Label-Reason", "no_label_reason"),
    ("Constraint", "constraints"),
];

/// The sidecar's cluster, by the name that our bootstraps give it.
const SIDECAR: &str = "llm-router-sidecar";

/// Where the blueprint's class of last resort goes by.
const LAST_RESORT: [&str; 2] = ["Unknown", "Other"];

impl Import {
    /// Carries over all that can be.
    ///
    /// # Errors
    /// If the file has no policy, a policy has no LLM, or an `api_base` is no URL.
    pub(crate) fn of(blueprint: &Blueprint) -> Result<Self> {
        let first = blueprint.policies.first().context("policies: there is none")?;
        let mut import = Self { policy: json!({}), clusters: Vec::new(), notes: Vec::new() };
        let mut models = Models::default();
        let mut policies = Map::new();
        for policy in &blueprint.policies {
            policies.insert(policy.name.clone(), import.policy(policy, &mut models)?);
        }
        import.clusters = models.clusters()?;
        import.policy = json!({
            "sidecar": {"cluster": SIDECAR},
            "default_policy": first.name,
            "models": models.to_json(),
            "policies": policies,
        });
        import.notes.push(format!("cluster {SIDECAR:?}: add it; envoy/wasm.yaml has one to copy"));
        import.notes.push(format!(
            "default_policy is {:?}, the first: the blueprint refuses requests that name none",
            first.name
        ));
        Ok(import)
    }

    fn policy<'a>(&mut self, policy: &'a BlueprintPolicy, models: &mut Models<'a>) -> Result<Value> {
        ensure!(!policy.llms.is_empty(), "policies: {:?} has no llms", policy.name);
        let by_complexity = policy.llms.iter().all(|llm| dimension(&llm.name).is_some());
        let mut routes = Map::new();
        for llm in &policy.llms {
            let model = models.name(llm)?;
            let label = if by_complexity { dimension(&llm.name).unwrap_or(&llm.name) } else { &llm.name };
            routes.insert(label.to_owned(), json!(model));
            if llm.api_key.as_ref().is_some_and(|key| !key.is_empty()) {
                self.note_key(&llm.api_base);
            }
        }
        if let Some(url) = &policy.url {
            self.notes.push(format!(
                "policy {:?}: its classifier at {url} is not asked; the sidecar's head {:?} is",
                policy.name,
                classifier(by_complexity)
            ));
        }
        if by_complexity {
            self.notes.push(format!(
                "policy {:?}: manual routing takes our names of the dimensions, like \"few_shots\" for \"Few-Shot\"",
                policy.name
            ));
        }
        let default = last_resort(&policy.llms).context("there is an LLM")?;
        let default = models.name(default)?;
        Ok(json!({"classifier": classifier(by_complexity), "routes": routes, "default": default}))
    }

    fn note_key(&mut self, api_base: &str) {
        let note = format!(
            "the api_key for {api_base} is not carried over: keep it as an Envoy secret (credential_injector with SDS)"
        );
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

fn classifier(by_complexity: bool) -> &'static str {
    if by_complexity { "complexity" } else { "task" }
}

fn dimension(class: &str) -> Option<&'static str> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '_', ' '], "");
    COMPLEXITY.iter().find(|(theirs, _)| plain(theirs) == plain(class)).map(|(_, ours)| *ours)
}

fn last_resort(llms: &[BlueprintLlm]) -> Option<&BlueprintLlm> {
    let named = |name: &&str| llms.iter().find(|llm| llm.name == **name);
    LAST_RESORT.iter().find_map(named).or(llms.first())
}

/// The models in use, each once however many classes it serves.
#[derive(Default)]
struct Models<'a> {
    /// By server and the server's name for the model.
    names: BTreeMap<(&'a str, &'a str), String>,
}

impl<'a> Models<'a> {
    /// Our name for an LLM: its model's without the vendor.
    fn name(&mut self, llm: &'a BlueprintLlm) -> Result<String> {
        let key = (llm.api_base.as_str(), llm.model.as_str());
        if let Some(name) = self.names.get(&key) {
            return Ok(name.clone());
        }
        server(&llm.api_base)?;
        let short = llm.model.rsplit('/').next().unwrap_or(&llm.model);
        let taken = |name: &str| self.names.values().any(|other| other == name);
        let numbered = (2..).map(|number| format!("{short}-{number}"));
        let name = [short.to_owned()].into_iter().chain(numbered).find(|name| !taken(name));
        let name = name.context("names are numbered without end")?;
        self.names.insert(key, name.clone());
        Ok(name)
    }

    fn to_json(&self) -> Value {
        let entry = |(api_base, model): &(&str, &str)| {
            let server = server(api_base).ok()?;
            let mut entry = json!({"cluster": server.cluster(), "model": model, "host": server.authority()});
            if server.base_path != "/v1" {
                entry.as_object_mut()?.insert("base_path".to_owned(), json!(server.base_path));
            }
            Some(entry)
        };
        self.names.iter().filter_map(|(key, name)| Some((name.clone(), entry(key)?))).collect()
    }

    fn clusters(&self) -> Result<Vec<Value>> {
        let mut clusters = BTreeMap::new();
        for (api_base, _) in self.names.keys() {
            let server = server(api_base)?;
            clusters.insert(server.cluster(), server.to_cluster());
        }
        Ok(clusters.into_values().collect())
    }
}

#[cfg(test)]
mod tests {
    use llm_router_routing::config::Config;

    use super::*;

    fn import(yaml: &str) -> Result<Import> {
        Import::of(&serde_saphyr::from_str(yaml).unwrap())
    }

    const TASKS: &str = r#"
policies:
  - name: task_router
    url: http://router-server:8000/v2/models/task_router_ensemble/infer
    llms:
      - {name: Brainstorming, api_base: "https://integrate.api.nvidia.com", api_key: nvapi-0123, model: meta/llama-3.1-70b-instruct}
      - {name: Chatbot, api_base: "https://integrate.api.nvidia.com", api_key: nvapi-0123, model: mistralai/mixtral-8x22b}
      - {name: Unknown, api_base: "http://local:8000/openai/v1", api_key: "", model: meta/llama-3.1-70b-instruct}
  - name: complexity_router
    llms:
      - {name: Creativity, api_base: "https://integrate.api.nvidia.com", api_key: null, model: meta/llama-3.1-70b-instruct}
      - {name: Few-Shot, api_base: "https://integrate.api.nvidia.com", model: mistralai/mixtral-8x22b}
"#;

    #[test]
    fn the_policy_is_valid_and_routes_as_the_blueprint_did() {
        let import = import(TASKS).unwrap();
        let config = Config::from_json(import.policy.to_string().as_bytes()).unwrap();
        let tasks = config.policy("task_router").unwrap();
        assert_eq!(tasks.class("Brainstorming").unwrap().upstream, "meta/llama-3.1-70b-instruct");
        assert_eq!(tasks.class("Unknown").unwrap().base_path.as_deref(), Some("/openai/v1"));
        assert_eq!(tasks.class("Unknown").unwrap().host.as_deref(), Some("local:8000"));
        assert_eq!(tasks.class("Chatbot").unwrap().host.as_deref(), Some("integrate.api.nvidia.com"));
        let complexity = config.policy("complexity_router").unwrap();
        assert_eq!(complexity.class("few_shots").unwrap().upstream, "mistralai/mixtral-8x22b");
        assert_eq!(config.default_policy.name.as_str(), "task_router");
    }

    #[test]
    fn each_server_is_a_cluster_with_tls_as_its_url_says() {
        let clusters = import(TASKS).unwrap().clusters;
        let names: Vec<_> = clusters.iter().map(|cluster| cluster["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["integrate-api-nvidia-com-443", "local-8000"]);
        assert_eq!(clusters[0]["transport_socket"]["typed_config"]["sni"], "integrate.api.nvidia.com");
        assert!(clusters[1].get("transport_socket").is_none());
    }

    #[test]
    fn keys_are_left_behind_and_named() {
        let import = import(TASKS).unwrap();
        assert!(
            import.notes.iter().any(|note| note.contains("api_key for https://integrate.api.nvidia.com"))
        );
        assert!(import.notes.iter().any(|note| note.contains("task_router_ensemble")));
        let all = format!("{}{:?}{:?}", import.policy, import.clusters, import.notes);
        assert!(!all.contains("nvapi-0123"));
    }

    #[test]
    fn what_cannot_be_imported_is_named() {
        assert!(import("policies: []").unwrap_err().to_string().contains("there is none"));
        let no_url = "policies: [{name: p, llms: [{name: A, api_base: nowhere, model: m}]}]";
        assert!(format!("{:#}", import(no_url).unwrap_err()).contains("\"nowhere\" is not a URL"));
    }
}

//! The bootstraps that we ship, adapted to a test: free ports, and whatever the test is about.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::PATIENCE;

const LISTENER: &str = "/static_resources/listeners/0";
const CONNECTION_MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const EXTENSION: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
const FILTER: &str = "llm_router";
const POLICY: &str = "/typed_config/config/configuration/value";
const SIDECAR: &str = "llm-router-sidecar";
const PORT: &str = "/address/socket_address/port_value";

/// Who decides by the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Our filter, in Envoy.
    Wasm,
    /// The sidecar, which Envoy's own filter calls.
    Native,
}

/// An Envoy bootstrap.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    envoy: Value,
    /// For a sidecar of its own, which Envoy is started with.
    sidecar_policy: Option<Value>,
}

impl Bootstrap {
    /// `envoy/wasm.yaml`: our filter decides.
    #[must_use]
    pub fn wasm() -> Self {
        crate::binary("target/llm_router_filter.wasm", "scripts/build-filter");
        Self::load("wasm.yaml")
    }

    /// `envoy/shadow.yaml`: our filter only tells what it would decide.
    #[must_use]
    pub fn shadow() -> Self {
        crate::binary("target/llm_router_filter.wasm", "scripts/build-filter");
        Self::load("shadow.yaml")
    }

    /// `envoy/failover.yaml`: our filter decides, and again when a model fails.
    #[must_use]
    pub fn failover() -> Self {
        crate::binary("target/llm_router_filter.wasm", "scripts/build-filter");
        Self::load("failover.yaml")
    }

    /// `envoy/providers.yaml`: our filter, and providers with TLS and keys.
    #[must_use]
    pub fn providers() -> Self {
        crate::binary("target/llm_router_filter.wasm", "scripts/build-filter");
        Self::load("providers.yaml")
    }

    /// `envoy/native.yaml`: Envoy's ext_proc filter calls a sidecar, which decides by `envoy/policy.yaml`.
    #[must_use]
    pub fn native() -> Self {
        Self { sidecar_policy: Some(read("policy.yaml")), ..Self::load("native.yaml") }
    }

    /// `envoy/native.yaml` with a sidecar that only tells what it would decide, by the policy of `envoy/shadow.yaml`.
    #[must_use]
    pub fn native_shadow() -> Self {
        let policy = Self::load("shadow.yaml").filter_policy().clone();
        Self { sidecar_policy: Some(policy), ..Self::load("native.yaml") }
    }

    /// `envoy/limits.yaml`: our filter, and clients with keys and limits.
    #[must_use]
    pub fn limits() -> Self {
        crate::binary("target/llm_router_filter.wasm", "scripts/build-filter");
        Self::load("limits.yaml")
    }

    /// `envoy/replicas.yaml`: our filter, and three sidecars.
    #[must_use]
    pub fn replicas() -> Self {
        crate::binary("target/llm_router_filter.wasm", "scripts/build-filter");
        Self::load("replicas.yaml")
    }

    /// `envoy/install/STEP.yaml`: a step of `docs/install-envoy.md`.
    #[must_use]
    pub fn install(step: &str) -> Self {
        crate::binary("target/llm_router_filter.wasm", "scripts/build-filter");
        Self::load(&format!("install/{step}.yaml"))
    }

    /// `envoy/dynamic/bootstrap.yaml`, which finds the other files in this folder.
    #[must_use]
    pub fn dynamic(folder: &Path) -> Self {
        let mut envoy = read("dynamic/bootstrap.yaml");
        for (source, file) in [("lds_config", "listeners.yaml"), ("cds_config", "clusters.yaml")] {
            envoy["dynamic_resources"][source]["path_config_source"]["path"] = json!(folder.join(file));
        }
        Self { envoy, sidecar_policy: None }.with(&format!("/admin{PORT}"), 0)
    }

    fn load(name: &str) -> Self {
        let bootstrap = Self { envoy: read(name), sidecar_policy: None };
        bootstrap.with(&format!("{LISTENER}{PORT}"), 0).with(&format!("/admin{PORT}"), 0)
    }

    /// Calls what listens at `address` for the sidecar, which has a policy itself or needs none.
    #[must_use]
    pub fn sidecar(self, address: SocketAddr) -> Self {
        Self { sidecar_policy: None, ..self.cluster(SIDECAR, address) }
    }

    /// Sends what goes to the cluster `name` to `address`.
    #[must_use]
    pub fn cluster(self, name: &str, address: SocketAddr) -> Self {
        self.endpoint(name, 0, address)
    }

    /// Sends what goes to the endpoint of the cluster `name` at this place in its list to `address`.
    #[must_use]
    pub fn endpoint(mut self, name: &str, place: usize, address: SocketAddr) -> Self {
        let address = json!({ "address": address.ip().to_string(), "port_value": address.port() });
        let endpoint =
            &mut self.named_cluster(name)["load_assignment"]["endpoints"][0]["lb_endpoints"][place];
        endpoint["endpoint"]["address"]["socket_address"] = address;
        self
    }

    /// Changes the policy, of whoever decides by it.
    #[must_use]
    pub fn policy(mut self, change: impl FnOnce(&mut Value)) -> Self {
        match &mut self.sidecar_policy {
            Some(policy) => change(policy),
            None => change(self.filter_policy()),
        }
        self
    }

    /// The policy that the sidecar is to be started with, if it is.
    #[must_use]
    pub fn sidecar_policy(&self) -> Option<&Value> {
        self.sidecar_policy.as_ref()
    }

    /// Waits for the sidecar as long as it takes: the tests keep the machine busy, and a classification that
    /// came too late would be taken for a wrong one.
    #[must_use]
    pub fn patient(mut self) -> Self {
        let limit = json!(format!("{}s", PATIENCE.as_secs()));
        let filters = self.at(CONNECTION_MANAGER)["http_filters"].as_array_mut().expect("filters");
        match filters.iter_mut().find_map(|filter| filter["typed_config"].get_mut("message_timeout")) {
            Some(timeout) => *timeout = limit.clone(),
            None => {
                let options = &mut self.named_cluster(SIDECAR)["typed_extension_protocol_options"];
                options[HTTP_OPTIONS]["common_http_protocol_options"]["max_stream_duration"] = limit.clone();
            }
        }
        self.policy(|policy| {
            policy["sidecar"]["timeout"] = limit;
            // Tests send the same prompts over and over, and are about how they are classified.
            policy["cache"] = json!({ "entries": 0 });
        })
    }

    /// Shows the sidecar the LLMs' answers, if it decides. Our filter sees them anyway.
    #[must_use]
    pub fn reading_answers(self) -> Self {
        self.ext_proc(|filter| filter["processing_mode"]["response_body_mode"] = json!("STREAMED"))
    }

    /// Changes Envoy's own filter, if that is the one that asks the sidecar.
    #[must_use]
    pub fn ext_proc(mut self, change: impl FnOnce(&mut Value)) -> Self {
        let filter = &mut self.at(CONNECTION_MANAGER)["http_filters"][0];
        if filter["name"] == "envoy.filters.http.ext_proc" {
            change(&mut filter["typed_config"]);
        }
        self
    }

    /// Has a cluster connected to in this way.
    #[must_use]
    pub fn transport_socket(mut self, cluster: &str, socket: Value) -> Self {
        self.named_cluster(cluster)["transport_socket"] = socket;
        self
    }

    /// Has a cluster's certificate verified by the authority in this file.
    #[must_use]
    pub fn authority(mut self, cluster: &str, file: &Path) -> Self {
        let tls = &mut self.named_cluster(cluster)["transport_socket"]["typed_config"]["common_tls_context"];
        tls["validation_context"]["trusted_ca"] = json!({ "filename": file });
        self
    }

    /// Takes a cluster's key from this file.
    #[must_use]
    pub fn key_file(mut self, cluster: &str, file: &Path) -> Self {
        let options = &mut self.named_cluster(cluster)["typed_extension_protocol_options"][HTTP_OPTIONS];
        let injector = &mut options["http_filters"][0]["typed_config"]["credential"]["typed_config"];
        injector["credential"]["sds_config"]["path_config_source"]["path"] = json!(file);
        self
    }

    /// Adds a filter to what a cluster's requests pass, behind Envoy's retries and after those that all clusters have.
    #[must_use]
    pub fn upstream_filter(mut self, cluster: &str, filter: Value) -> Self {
        let filters = self.at(CONNECTION_MANAGER)["http_filters"].as_array().expect("filters");
        let router = filters.last().expect("the router filter");
        let mut upstream = router["typed_config"]["upstream_http_filters"].clone();
        let all = upstream.as_array_mut().expect("upstream filters");
        all.insert(all.len() - 1, filter);
        let options = &mut self.named_cluster(cluster)["typed_extension_protocol_options"][HTTP_OPTIONS];
        options["@type"] = json!(format!("type.googleapis.com/{HTTP_OPTIONS}"));
        options["explicit_http_config"] = json!({ "http_protocol_options": {} });
        options["http_filters"] = upstream;
        self
    }

    /// Sets Envoy's own limit on a request's body, in bytes.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.at(CONNECTION_MANAGER)["route_config"]["virtual_hosts"][0]["request_body_buffer_limit"] =
            json!(bytes);
        // Envoy takes the larger of the two.
        self.at(LISTENER)["per_connection_buffer_limit_bytes"] = json!(bytes);
        self
    }

    /// Makes histograms tell what they got so soon after.
    #[must_use]
    pub fn stats_flush_interval(mut self, duration: &str) -> Self {
        self.envoy["stats_flush_interval"] = json!(duration);
        self
    }

    /// Lets Envoy answer a request itself when nothing happens for so long.
    #[must_use]
    pub fn idle_timeout(mut self, duration: &str) -> Self {
        self.at(CONNECTION_MANAGER)["stream_idle_timeout"] = json!(duration);
        self
    }

    /// Lets trailers of HTTP/1.1 requests reach the filters. Envoy drops them otherwise.
    #[must_use]
    pub fn http1_trailers(mut self) -> Self {
        self.at(CONNECTION_MANAGER)["http_protocol_options"] = json!({ "enable_trailers": true });
        self
    }

    /// Has Envoy take the filter, as it is configured now, from this file, and again when another is put in its place.
    #[must_use]
    pub fn discovering(mut self, file: &Path) -> Self {
        // Envoy discovers only for somebody.
        self.envoy["node"] = json!({ "id": "test", "cluster": "test" });
        let filter = self.http_filter(FILTER);
        let (name, config) = (filter["name"].take(), filter["typed_config"].take());
        let types = [config["@type"].clone()];
        let source = json!({ "path_config_source": { "path": file } });
        *filter =
            json!({ "name": name, "config_discovery": { "config_source": source, "type_urls": types } });
        let found = json!({ "@type": EXTENSION, "name": name, "typed_config": config });
        // Envoy looks again only when a file was moved there.
        let new = file.with_extension("new");
        std::fs::write(&new, json!({ "resources": [found] }).to_string()).expect("the filter's file");
        std::fs::rename(new, file).expect("the filter's file in its place");
        self
    }

    /// Changes an HTTP filter.
    #[must_use]
    pub fn filter(mut self, name: &str, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.http_filter(name)["typed_config"]);
        self
    }

    /// Puts an HTTP filter before the last, which is the router.
    #[must_use]
    pub fn add_filter(mut self, filter: Value) -> Self {
        let filters = self.at(CONNECTION_MANAGER)["http_filters"].as_array_mut().expect("filters");
        filters.insert(filters.len() - 1, filter);
        self
    }

    /// Adds a cluster like the sidecar's.
    #[must_use]
    pub fn add_grpc_cluster(mut self, name: &str, address: SocketAddr) -> Self {
        let mut cluster = self.named_cluster(SIDECAR).clone();
        cluster["name"] = json!(name);
        self.at("/static_resources/clusters").as_array_mut().expect("clusters").push(cluster);
        self.cluster(name, address)
    }

    fn filter_policy(&mut self) -> &mut Value {
        self.http_filter(FILTER).pointer_mut(POLICY).expect("a policy in the filter's configuration")
    }

    fn http_filter(&mut self, name: &str) -> &mut Value {
        let filters = self.at(CONNECTION_MANAGER)["http_filters"].as_array_mut();
        let filter = filters.and_then(|all| all.iter_mut().find(|filter| filter["name"] == name));
        filter.unwrap_or_else(|| panic!("the bootstrap has no filter {name}"))
    }

    fn named_cluster(&mut self, name: &str) -> &mut Value {
        let clusters = self.at("/static_resources/clusters").as_array_mut();
        let cluster = clusters.and_then(|all| all.iter_mut().find(|cluster| cluster["name"] == name));
        cluster.unwrap_or_else(|| panic!("the bootstrap has no cluster {name}"))
    }

    fn with(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        *self.at(pointer) = value.into();
        self
    }

    fn at(&mut self, pointer: &str) -> &mut Value {
        self.envoy.pointer_mut(pointer).unwrap_or_else(|| panic!("the bootstrap has no {pointer}"))
    }

    /// The bootstrap as YAML, of the subset that is JSON.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        self.envoy.to_string()
    }
}

/// A file in `envoy/`.
#[must_use]
pub fn read(name: &str) -> Value {
    let path = crate::repository().join("envoy").join(name);
    let yaml = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

//! The bootstraps that we ship, adapted to a test: free ports, and whatever the test is about.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::PATIENCE;

const LISTENER: &str = "/static_resources/listeners/0";
const CONNECTION_MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const PORT: &str = "/address/socket_address/port_value";

/// An Envoy bootstrap.
#[derive(Debug, Clone)]
pub struct Bootstrap(Value);

impl Bootstrap {
    /// `envoy/wasm.yaml`: our filter decides.
    #[must_use]
    pub fn wasm() -> Self {
        crate::binary("target/llm_router_filter.wasm", "scripts/build-filter");
        Self::load("wasm.yaml")
    }

    /// `envoy/native.yaml`: Envoy's ext_proc filter asks the sidecar, and routes match on its headers.
    #[must_use]
    pub fn native() -> Self {
        Self::load("native.yaml")
    }

    fn load(name: &str) -> Self {
        let path = crate::repository().join("envoy").join(name);
        let yaml =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let bootstrap =
            serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(bootstrap).with(&format!("{LISTENER}{PORT}"), 0).with(&format!("/admin{PORT}"), 0)
    }

    /// Sends what goes to the cluster `name` to `address`.
    #[must_use]
    pub fn cluster(mut self, name: &str, address: SocketAddr) -> Self {
        let address = json!({ "address": address.ip().to_string(), "port_value": address.port() });
        let endpoint = &mut self.named_cluster(name)["load_assignment"]["endpoints"][0]["lb_endpoints"][0];
        endpoint["endpoint"]["address"]["socket_address"] = address;
        self
    }

    /// Changes our filter's configuration.
    #[must_use]
    pub fn policy(mut self, change: impl FnOnce(&mut Value)) -> Self {
        let policy = "/http_filters/0/typed_config/config/configuration/value";
        change(self.at(&format!("{CONNECTION_MANAGER}{policy}")));
        self
    }

    /// Waits for the sidecar as long as it takes: the tests keep the machine busy, and a classification that
    /// came too late would be taken for a wrong one.
    #[must_use]
    pub fn patient(mut self) -> Self {
        let limit = format!("{}s", PATIENCE.as_secs());
        let filter = &mut self.at(CONNECTION_MANAGER)["http_filters"][0]["typed_config"];
        if let Some(timeout) = filter.get_mut("message_timeout") {
            *timeout = json!(limit);
            return self;
        }
        filter["config"]["configuration"]["value"]["sidecar"]["timeout"] = json!(limit);
        // Tests send the same prompts over and over, and are about how they are classified.
        filter["config"]["configuration"]["value"]["cache"] = json!({ "entries": 0 });
        let options = &mut self.named_cluster("llm-router-sidecar")["typed_extension_protocol_options"];
        options[HTTP_OPTIONS]["common_http_protocol_options"]["max_stream_duration"] = json!(limit);
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
        self.0.pointer_mut(pointer).unwrap_or_else(|| panic!("the bootstrap has no {pointer}"))
    }

    /// The bootstrap as YAML, of the subset that is JSON.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        self.0.to_string()
    }
}

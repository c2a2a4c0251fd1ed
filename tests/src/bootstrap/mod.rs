//! The bootstraps that we ship, adapted to a test: free ports, and the settings that the test is about.

mod clusters;
mod filters;
mod shipped;

use serde_json::{Value, json};

use crate::TIMEOUT;

const LISTENER: &str = "/static_resources/listeners/0";
const CONNECTION_MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const SIDECAR: &str = "llm-router-sidecar";
const PORT: &str = "/address/socket_address/port_value";

/// An Envoy bootstrap.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    envoy: Value,
    /// For the sidecar that is started with Envoy and decides.
    sidecar_policy: Option<Value>,
}

impl Bootstrap {
    /// The policy of the sidecar, if the sidecar decides.
    #[must_use]
    pub fn sidecar_policy(&self) -> Option<&Value> {
        self.sidecar_policy.as_ref()
    }

    /// One that needs no adaptation.
    pub(crate) fn from_pod(envoy: Value) -> Self {
        Self { envoy, sidecar_policy: None }
    }

    /// Waits long for the sidecar: the tests keep the machine busy, and a late classification would look like a wrong one.
    #[must_use]
    pub fn with_long_timeouts(mut self) -> Self {
        let limit = json!(format!("{}s", TIMEOUT.as_secs()));
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
            // Tests send the same prompts repeatedly, and check how they are classified.
            policy["cache"] = json!({ "entries": 0 });
        })
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

    /// Sets the interval after which histograms include new values.
    #[must_use]
    pub fn stats_flush_interval(mut self, duration: &str) -> Self {
        self.envoy["stats_flush_interval"] = json!(duration);
        self
    }

    /// Lets Envoy respond itself to a request for which nothing happens for this time.
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

    /// Makes Envoy leave paths as clients write them.
    #[must_use]
    pub fn keeping_paths(self) -> Self {
        self.with(&format!("{CONNECTION_MANAGER}/normalize_path"), false)
            .with(&format!("{CONNECTION_MANAGER}/merge_slashes"), false)
            .with(&format!("{CONNECTION_MANAGER}/path_with_escaped_slashes_action"), "KEEP_UNCHANGED")
    }

    /// Lets these of the client's credentials pass to the LLMs, as `docs/security.md` says.
    #[must_use]
    pub fn pass_credentials(mut self, names: &[&str]) -> Self {
        let removed =
            &mut self.at(CONNECTION_MANAGER)["route_config"]["virtual_hosts"][0]["request_headers_to_remove"];
        let removed = removed.as_array_mut().expect("a list");
        let before = removed.len();
        removed.retain(|name| !names.iter().any(|it| *name == **it));
        assert_eq!(removed.len() + names.len(), before, "{names:?} are not all removed");
        self
    }

    /// Lets clients upgrade to WebSockets.
    #[must_use]
    pub fn websockets(mut self) -> Self {
        self.at(CONNECTION_MANAGER)["upgrade_configs"] = json!([{ "upgrade_type": "websocket" }]);
        self
    }

    /// Takes clients' addresses from their connections, as at the edge of a network, and not from headers that they send.
    #[must_use]
    pub fn at_the_edge(mut self) -> Self {
        self.at(CONNECTION_MANAGER)["use_remote_address"] = json!(true);
        self
    }

    /// Lets headers of clients reach the routes as they are.
    #[must_use]
    pub fn without_early_mutations(mut self) -> Self {
        self.at(CONNECTION_MANAGER)["early_header_mutation_extensions"] = json!([]);
        self
    }

    /// Sets how clients connect, by TLS.
    #[must_use]
    pub fn downstream_socket(mut self, socket: Value) -> Self {
        let inspector = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
        self.at(LISTENER)["listener_filters"] = json!([{ "name": "envoy.filters.listener.tls_inspector", "typed_config": { "@type": inspector } }]);
        self.at("/static_resources/listeners/0/filter_chains/0")["transport_socket"] = socket;
        self
    }

    /// Names the routes.
    #[must_use]
    pub fn route_names(mut self, names: &[&str]) -> Self {
        let routes = &mut self.at(CONNECTION_MANAGER)["route_config"]["virtual_hosts"][0]["routes"];
        let routes = routes.as_array_mut().expect("routes");
        assert_eq!(routes.len(), names.len(), "{routes:?}");
        for (route, name) in routes.iter_mut().zip(names) {
            route["name"] = json!(name);
        }
        self
    }

    /// Puts the model's name into this header, and makes Envoy route by it alone: one route for each model, and a last one without
    /// this header.
    #[must_use]
    pub fn routing_by_model_header(mut self, header: &str) -> Self {
        let mut models = Value::Null;
        self = self.policy(|policy| {
            policy["model_header"] = json!(header);
            models = policy["models"].clone();
        });
        let routes = &mut self.at(CONNECTION_MANAGER)["route_config"]["virtual_hosts"][0]["routes"];
        let fallback = routes.as_array_mut().and_then(Vec::pop).expect("the last route");
        let of_model = |model: &Value| {
            let named = json!({ "name": header, "string_match": { "exact": model["model"] } });
            let route = json!({ "cluster": model["cluster"], "timeout": "0s" });
            json!({ "match": { "prefix": "/", "headers": [named] }, "route": route })
        };
        let models = models.as_object().expect("models");
        *routes = models.values().map(of_model).chain([fallback]).collect();
        self
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

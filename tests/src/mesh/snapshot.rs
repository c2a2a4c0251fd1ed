//! A gateway as it was made, and as it runs here.

use llm_router_test_support::artifacts::FILTER;
use serde_json::{Value, json};

use super::Mesh;

const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

impl Mesh {
    pub(super) fn snapshot(name: &str, sidecar: &str) -> Self {
        let _ = crate::fresh(&FILTER);
        let path = crate::repository().join(format!("tests/fixtures/mesh/{name}.yaml"));
        let yaml = std::fs::read_to_string(&path).expect("a gateway");
        let mut made: Value = serde_saphyr::from_str(&yaml).expect("a gateway");
        let mut take = |kind: &str| serde_json::from_value(made[kind].take()).expect("a list");
        Self {
            listeners: take("listeners"),
            routes: take("routes"),
            clusters: take("clusters"),
            extensions: Vec::new(),
            policy: None,
            sidecar: sidecar.to_owned(),
        }
    }

    /// The configuration of each HTTP connection manager.
    pub(super) fn connection_managers(&mut self) -> Vec<&mut Value> {
        self.network_filters()
            .into_iter()
            .filter(|filter| filter["name"] == CONNECTION_MANAGER)
            .map(|filter| &mut filter["typed_config"])
            .collect()
    }

    pub(super) fn network_filters(&mut self) -> Vec<&mut Value> {
        let mut filters = Vec::new();
        for listener in &mut self.listeners {
            let Value::Object(fields) = listener else { continue };
            for (name, value) in fields {
                let chains = match (name.as_str(), value) {
                    ("filter_chains", Value::Array(chains)) => chains.as_mut_slice(),
                    ("default_filter_chain", chain) => std::slice::from_mut(chain),
                    _ => continue,
                };
                filters
                    .extend(chains.iter_mut().flat_map(|it| it["filters"].as_array_mut().expect("filters")));
            }
        }
        filters
    }

    pub(super) fn remove_http_filter(&mut self, name: &str) {
        for manager in self.connection_managers() {
            manager["http_filters"].as_array_mut().expect("filters").retain(|filter| filter["name"] != name);
        }
        // Envoy rejects routes that configure an absent filter.
        let hosts = self.routes.iter_mut().flat_map(|it| it["virtual_hosts"].as_array_mut()).flatten();
        for route in hosts.flat_map(|host| host["routes"].as_array_mut()).flatten() {
            if let Some(Value::Object(filters)) = route.get_mut("typed_per_filter_config") {
                filters.remove(name);
            }
        }
    }

    /// One file for an Envoy without a control plane: routes and discovered filters are inlined where they are used.
    pub(super) fn assemble(mut self) -> Value {
        let (routes, extensions) = (self.routes.clone(), self.extensions.clone());
        for manager in self.connection_managers() {
            if let Some(rds) = manager.as_object_mut().and_then(|it| it.remove("rds")) {
                let found = routes.iter().find(|routes| routes["name"] == rds["route_config_name"]);
                manager["route_config"] = found.expect("the listener's routes").clone();
            }
            let filters = manager["http_filters"].as_array_mut().expect("filters");
            // Only Istio's own Envoy has these.
            filters.retain(|filter| !filter["name"].as_str().is_some_and(|name| name.starts_with("istio")));
            for filter in filters {
                if filter.as_object_mut().and_then(|it| it.remove("config_discovery")).is_some() {
                    let found = extensions.iter().find(|extension| extension["name"] == filter["name"]);
                    filter["typed_config"] =
                        found.expect("the filter's configuration")["typed_config"].clone();
                }
                // The tests keep the machine busy, and a late classification would look like a wrong one.
                if let Some(timeout) = filter["typed_config"].get_mut("message_timeout") {
                    *timeout = json!(format!("{}s", crate::TIMEOUT.as_secs()));
                }
                // As Istio's agent does with an image, and the kubelet with a volume.
                if let Some(code) = filter.pointer_mut("/typed_config/config/vm_config/code") {
                    *code = json!({ "local": { "filename": FILTER.path } });
                }
            }
        }
        for listener in &mut self.listeners {
            listener["address"] = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 0 } });
        }
        for cluster in &mut self.clusters {
            // What no test serves has no endpoints.
            if cluster.as_object_mut().and_then(|it| it.remove("eds_cluster_config")).is_some() {
                cluster["type"] = json!("STATIC");
            }
        }
        let admin = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 0 } });
        json!({
            "node": { "id": "test", "cluster": "test" },
            "admin": { "address": admin },
            "static_resources": { "listeners": self.listeners, "clusters": self.clusters },
        })
    }
}

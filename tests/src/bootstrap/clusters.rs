//! Clusters: where requests go, and how.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::{Bootstrap, CONNECTION_MANAGER, HTTP_OPTIONS, SIDECAR};

impl Bootstrap {
    /// Uses the sidecar at `address`, which has its policy already or needs none.
    #[must_use]
    pub fn sidecar(self, address: SocketAddr) -> Self {
        Self { sidecar_policy: None, ..self.cluster(SIDECAR, address) }
    }

    /// Gives the sidecar's cluster another name. To be called last: the other functions know the shipped name.
    #[must_use]
    pub fn sidecar_cluster(mut self, name: &str) -> Self {
        self.named_cluster(SIDECAR)["name"] = json!(name);
        if self.calls_by_ext_proc() {
            // By itself, Envoy's filter sends the name as the call's `:authority`.
            let service = json!({ "cluster_name": name, "authority": SIDECAR });
            self.ext_proc(|filter| filter["grpc_service"]["envoy_grpc"] = service)
        } else {
            self.policy(|policy| policy["sidecar"]["cluster"] = json!(name))
        }
    }

    /// Redirects the cluster `name` to `address`.
    #[must_use]
    pub fn cluster(self, name: &str, address: SocketAddr) -> Self {
        self.endpoint(name, 0, address)
    }

    /// Redirects the endpoint of the cluster `name` at this index to `address`.
    #[must_use]
    pub fn endpoint(mut self, name: &str, place: usize, address: SocketAddr) -> Self {
        let address = json!({ "address": address.ip().to_string(), "port_value": address.port() });
        let endpoint =
            &mut self.named_cluster(name)["load_assignment"]["endpoints"][0]["lb_endpoints"][place];
        endpoint["endpoint"]["address"]["socket_address"] = address;
        self
    }

    /// Sets how Envoy connects to a cluster.
    #[must_use]
    pub fn transport_socket(mut self, cluster: &str, socket: Value) -> Self {
        self.named_cluster(cluster)["transport_socket"] = socket;
        self
    }

    /// Sets the file of the authority that verifies a cluster's certificate.
    #[must_use]
    pub fn authority(mut self, cluster: &str, file: &Path) -> Self {
        let tls = &mut self.named_cluster(cluster)["transport_socket"]["typed_config"]["common_tls_context"];
        tls["validation_context"]["trusted_ca"] = json!({ "filename": file });
        self
    }

    /// Sets the file of a cluster's key.
    #[must_use]
    pub fn key_file(mut self, cluster: &str, file: &Path) -> Self {
        let options = &mut self.named_cluster(cluster)["typed_extension_protocol_options"][HTTP_OPTIONS];
        let injector = &mut options["http_filters"][0]["typed_config"]["credential"]["typed_config"];
        injector["credential"]["sds_config"]["path_config_source"]["path"] = json!(file);
        self
    }

    /// Adds an upstream filter to a cluster, after those that all clusters have.
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

    /// Adds a cluster like the sidecar's.
    #[must_use]
    pub fn add_grpc_cluster(mut self, name: &str, address: SocketAddr) -> Self {
        let mut cluster = self.named_cluster(SIDECAR).clone();
        cluster["name"] = json!(name);
        self.at("/static_resources/clusters").as_array_mut().expect("clusters").push(cluster);
        self.cluster(name, address)
    }

    pub(super) fn named_cluster(&mut self, name: &str) -> &mut Value {
        let clusters = self.at("/static_resources/clusters").as_array_mut();
        let cluster = clusters.and_then(|all| all.iter_mut().find(|cluster| cluster["name"] == name));
        cluster.unwrap_or_else(|| panic!("the bootstrap has no cluster {name}"))
    }
}

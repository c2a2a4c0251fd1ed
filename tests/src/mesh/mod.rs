//! Gateways as meshes make them, with what `k8s/` adds: for Istio and Envoy Gateway, after what their own code makes of a
//! gateway (`tests/fixtures/mesh`), with their names of filters, routes and clusters.

mod envoy_filter;
mod own;
mod patch_policy;
mod snapshot;

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

pub use own::{Pod, send_to};

use crate::bootstrap::Bootstrap;

/// As Envoy Gateway names the filter of our EnvoyExtensionPolicy.
const EXT_PROC: &str = "envoy.filters.http.ext_proc/envoyextensionpolicy/llm-router/llm-router/extproc/0";
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// A gateway's Envoy, before it is adapted to loopback.
#[derive(Debug, Clone)]
pub struct Mesh {
    listeners: Vec<Value>,
    routes: Vec<Value>,
    clusters: Vec<Value>,
    /// By name, what filters get by discovery.
    extensions: Vec<Value>,
    /// The sidecars' policy, if they decide.
    policy: Option<Value>,
    /// As the mesh names the sidecars' cluster.
    sidecar: String,
}

impl Mesh {
    /// `k8s/overlays/istio`: a gateway of Istio's with our EnvoyFilter.
    #[must_use]
    pub fn istio() -> Self {
        let mut mesh = Self::snapshot("istio", "llm-router-sidecar");
        for object in objects("overlays/istio/envoyfilter.yaml") {
            mesh.apply_envoy_filter(&object["spec"]);
        }
        mesh
    }

    /// `k8s/overlays/istio` with the patch of `docs/install-istio.md` that puts Envoy's own filter in ours' place.
    #[must_use]
    pub fn istio_native(patch: Value) -> Self {
        let mut mesh = Self::istio();
        mesh.remove_http_filter("llm-router.llm_router");
        mesh.apply_envoy_filter(&json!({ "configPatches": [patch] }));
        mesh.policy = Some(native_policy());
        let options =
            &mut mesh.cluster("llm-router-sidecar")["typed_extension_protocol_options"][HTTP_OPTIONS];
        options.as_object_mut().expect("options").remove("common_http_protocol_options");
        mesh
    }

    /// `k8s/overlays/envoy-gateway`: what Envoy Gateway makes of its objects.
    #[must_use]
    pub fn envoy_gateway() -> Self {
        let mut mesh =
            Self::snapshot("envoy-gateway", "envoyextensionpolicy/llm-router/llm-router/extproc/0");
        mesh.policy = Some(native_policy());
        mesh
    }

    /// `k8s/overlays/envoy-gateway-wasm`: the same without ext_proc, with our EnvoyPatchPolicy.
    #[must_use]
    pub fn envoy_gateway_wasm() -> Self {
        let mut mesh = Self::snapshot("envoy-gateway", "llm-router-sidecar");
        mesh.remove_http_filter(EXT_PROC);
        for object in objects("overlays/envoy-gateway-wasm/patch.yaml") {
            mesh.apply_patch_policy(&object["spec"]);
        }
        mesh
    }

    /// Changes the policy, of our filter or of the sidecars.
    #[must_use]
    pub fn policy(mut self, change: impl FnOnce(&mut Value)) -> Self {
        match &mut self.policy {
            Some(policy) => change(policy),
            None => change(self.filter_policy()),
        }
        self
    }

    /// Sends what goes to the cluster `name` to `address`.
    #[must_use]
    pub fn serve(mut self, name: &str, address: SocketAddr) -> Self {
        let cluster = self.cluster(name);
        let fields = cluster.as_object_mut().expect("a cluster");
        for field in
            ["eds_cluster_config", "cluster_type", "dns_lookup_family", "dns_refresh_rate", "respect_dns_ttl"]
        {
            fields.remove(field);
        }
        // By endpoint: Istio's own mTLS, which none has here, or Envoy Gateway's TLS, which all have.
        let matches = fields.remove("transport_socket_matches").unwrap_or_default();
        if fields.get("transport_socket").is_some_and(|it| it["name"] == "dummy.transport_socket") {
            fields.insert("transport_socket".to_owned(), matches[0]["transport_socket"].clone());
        }
        cluster["type"] = json!("STATIC");
        let address = json!({ "address": address.ip().to_string(), "port_value": address.port() });
        let endpoint = json!({ "endpoint": { "address": { "socket_address": address } } });
        cluster["load_assignment"] =
            json!({ "cluster_name": name, "endpoints": [{ "lb_endpoints": [endpoint] }] });
        self
    }

    /// Has the provider behind a cluster verified by this authority, and given this key.
    #[must_use]
    pub fn provider(mut self, name: &str, authority: &Path, key: &str) -> Self {
        let cluster = self.cluster(name);
        let tls = &mut cluster["transport_socket"]["typed_config"]["common_tls_context"];
        let tls = tls.as_object_mut().expect("TLS");
        let combined = tls.remove("combined_validation_context").expect("a validation");
        let mut validation = combined["default_validation_context"].clone();
        validation["trusted_ca"] = json!({ "filename": authority });
        tls.insert("validation_context".to_owned(), validation);
        let options = &mut cluster["typed_extension_protocol_options"][HTTP_OPTIONS]["http_filters"][0];
        let credential = &mut options["typed_config"]["credential"]["typed_config"]["credential"];
        let file = crate::scratch_file("key", "yaml");
        std::fs::write(&file, own::secret(&credential["name"], key).to_string()).expect("the key's file");
        credential["sds_config"] = json!({ "path_config_source": { "path": file } });
        self
    }

    /// The name of the sidecars' cluster.
    #[must_use]
    pub fn sidecar(&self) -> &str {
        &self.sidecar
    }

    /// The policy of the sidecars, if they decide.
    #[must_use]
    pub fn sidecar_policy(&self) -> Option<&Value> {
        self.policy.as_ref()
    }

    fn filter_policy(&mut self) -> &mut Value {
        const POLICY: &str = "/typed_config/config/configuration/value";
        // What is discovered is not in the chain.
        if !self.extensions.is_empty() {
            let mut discovered = self.extensions.iter_mut();
            return discovered.find_map(|it| it.pointer_mut(POLICY)).expect("a policy");
        }
        let managers = self.connection_managers().into_iter();
        let mut filters = managers.flat_map(|it| it["http_filters"].as_array_mut().expect("filters"));
        filters.find_map(|filter| filter.pointer_mut(POLICY)).expect("a policy")
    }

    fn cluster(&mut self, name: &str) -> &mut Value {
        let found = self.clusters.iter_mut().find(|cluster| cluster["name"] == name);
        found.unwrap_or_else(|| panic!("there is no cluster {name}"))
    }

    /// The bootstrap, on loopback.
    #[must_use]
    pub fn bootstrap(self) -> Bootstrap {
        Bootstrap::from_mesh(self.assemble())
    }
}

/// The objects in a file of `k8s/`.
#[must_use]
pub fn objects(file: &str) -> Vec<Value> {
    let path = crate::repository().join("k8s").join(file);
    let yaml = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_multiple(&yaml).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn native_policy() -> Value {
    objects("components/native/policy.yaml").remove(0)
}

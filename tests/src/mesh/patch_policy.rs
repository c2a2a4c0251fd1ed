//! What Envoy Gateway does with an EnvoyPatchPolicy, as far as ours needs it.

use serde_json::Value;

use super::Mesh;

/// The only path that ours has: all routers, in whatever filter chain.
const ROUTERS: &str = "..http_filters[?(@.name=='envoy.filters.http.router')]";

impl Mesh {
    /// Applies its patches, in their order.
    pub(super) fn apply_patch_policy(&mut self, spec: &Value) {
        for patch in spec["jsonPatches"].as_array().expect("patches") {
            let operation = &patch["operation"];
            assert_eq!(operation["op"], "add", "{patch}");
            match patch["type"].as_str().expect("a type").rsplit('.').next() {
                Some("Listener") => {
                    let listener = self.listeners.iter().find(|listener| listener["name"] == patch["name"]);
                    assert!(listener.is_some(), "there is no listener {}", patch["name"]);
                    assert_eq!(operation["jsonPath"], ROUTERS);
                    for manager in self.connection_managers() {
                        let filters = manager["http_filters"].as_array_mut().expect("filters");
                        let router = filters.iter().position(|it| it["name"] == "envoy.filters.http.router");
                        // RFC 6902: what is added at an item's place comes before it.
                        filters.insert(router.expect("a router"), operation["value"].clone());
                    }
                }
                Some("Cluster") => self.clusters.push(operation["value"].clone()),
                kind => panic!("{kind:?} is not known here"),
            }
        }
    }
}

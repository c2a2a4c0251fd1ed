//! What Istio does with an EnvoyFilter, as far as ours need it.

use serde_json::Value;

use super::Mesh;

impl Mesh {
    /// Applies its patches, in their order.
    pub(super) fn apply_envoy_filter(&mut self, spec: &Value) {
        for patch in spec["configPatches"].as_array().expect("patches") {
            let (matched, value) = (&patch["match"], &patch["patch"]["value"]);
            assert_eq!(matched["context"], "GATEWAY", "{patch}");
            let kind = patch["applyTo"].as_str().expect("applyTo");
            let operation = patch["patch"]["operation"].as_str().expect("operation");
            let applied = match (kind, operation) {
                ("NETWORK_FILTER", "MERGE") => {
                    let name = &matched["listener"]["filterChain"]["filter"]["name"];
                    let filters = self.network_filters().into_iter().filter(|filter| filter["name"] == *name);
                    filters.map(|filter| merge(filter, value)).count()
                }
                ("HTTP_FILTER", "INSERT_BEFORE") => {
                    let before = &matched["listener"]["filterChain"]["filter"]["subFilter"]["name"];
                    let managers = self.connection_managers().into_iter();
                    let inserted = managers.map(|it| insert_before(&mut it["http_filters"], before, value));
                    inserted.filter(|inserted| *inserted).count()
                }
                ("EXTENSION_CONFIG", "ADD") => {
                    self.extensions.push(value.clone());
                    1
                }
                ("VIRTUAL_HOST", "MERGE") => {
                    let hosts = self.routes.iter_mut().flat_map(|it| it["virtual_hosts"].as_array_mut());
                    hosts.flatten().map(|host| merge(host, value)).count()
                }
                ("CLUSTER", "ADD") => {
                    self.clusters.push(value.clone());
                    1
                }
                ("CLUSTER", "MERGE") => {
                    let service = matched["cluster"]["service"].as_str().expect("a service");
                    let of = |cluster: &&mut Value| {
                        cluster["name"].as_str().is_some_and(|it| it.ends_with(&format!("||{service}")))
                    };
                    self.clusters.iter_mut().filter(of).map(|cluster| merge(cluster, value)).count()
                }
                _ => panic!("{kind} {operation} is not known here"),
            };
            assert!(applied > 0, "nothing matches {patch}");
        }
    }
}

/// As protocol buffers merge: lists grow, and what is packed into a map takes the place of what was there.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                match into.get_mut(key) {
                    Some(there) if key == "typed_extension_protocol_options" => {
                        let (Value::Object(there), Value::Object(value)) = (there, value) else { continue };
                        there.extend(value.clone());
                    }
                    Some(there) => merge(there, value),
                    None => {
                        into.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(into), Value::Array(from)) => into.extend(from.iter().cloned()),
        (into, from) => *into = from.clone(),
    }
}

fn insert_before(filters: &mut Value, name: &Value, filter: &Value) -> bool {
    let filters = filters.as_array_mut().expect("filters");
    let place = filters.iter().position(|it| it["name"] == *name);
    place.inspect(|place| filters.insert(*place, filter.clone())).is_some()
}

//! Kubernetes objects, in which policies and other configurations are found.

use serde_json::{Map, Value};

/// The annotation in which `kubectl apply` repeats the whole object.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The kind and name of an object, such as `ConfigMap/llm`; none if these are not the members of an object.
#[must_use]
pub fn name(members: &Map<String, Value>) -> Option<String> {
    let kind = members.get("kind")?.as_str()?;
    let name = members.get("metadata")?.get("name")?.as_str()?;
    Some(format!("{kind}/{name}"))
}

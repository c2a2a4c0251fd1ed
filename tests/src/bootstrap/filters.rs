//! HTTP filters, and the policy of ours or of the sidecar.

use std::path::Path;

use serde_json::{Value, json};

use super::{Bootstrap, CONNECTION_MANAGER};

const EXTENSION: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
const FILTER: &str = "llm_router";
const EXT_PROC: &str = "envoy.filters.http.ext_proc";
/// The position of the policy in the filter's configuration, by the way in which Envoy loads the filter.
const POLICIES: [&str; 2] = ["/typed_config/config/configuration/value", "/typed_config/filter_config/value"];

impl Bootstrap {
    /// Changes the policy, of our filter or of the sidecar.
    #[must_use]
    pub fn policy(mut self, change: impl FnOnce(&mut Value)) -> Self {
        match &mut self.sidecar_policy {
            Some(policy) => change(policy),
            None => change(self.filter_policy()),
        }
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

    /// Puts HTTP filters before all others.
    #[must_use]
    pub fn add_first_filters(mut self, filters: impl IntoIterator<Item = Value>) -> Self {
        let all = self.at(CONNECTION_MANAGER)["http_filters"].as_array_mut().expect("filters");
        all.splice(0..0, filters);
        self
    }

    /// Changes Envoy's own ext_proc filter, if it calls the sidecar.
    #[must_use]
    pub fn ext_proc(self, change: impl FnOnce(&mut Value)) -> Self {
        if self.calls_by_ext_proc() { self.filter(EXT_PROC, change) } else { self }
    }

    /// Sends the LLMs' responses to the sidecar, if it decides. Our filter sees them anyway.
    #[must_use]
    pub fn reading_responses(self) -> Self {
        self.ext_proc(|filter| filter["processing_mode"]["response_body_mode"] = json!("STREAMED"))
    }

    /// Has Envoy load the module from this file.
    #[must_use]
    pub fn module_file(self, file: &Path) -> Self {
        self.filter(FILTER, |filter| {
            filter["dynamic_module_config"]["module"]["local"]["filename"] = json!(file);
        })
    }

    /// Moves the filter's configuration to this file. Envoy loads it, and reloads it when the file is replaced.
    #[must_use]
    pub fn discovering(mut self, file: &Path) -> Self {
        // Dynamic configuration requires a name of the node.
        self.envoy["node"] = json!({ "id": "test", "cluster": "test" });
        let filter = self.http_filter(FILTER);
        let (name, config) = (filter["name"].take(), filter["typed_config"].take());
        let types = [config["@type"].clone()];
        let source = json!({ "path_config_source": { "path": file } });
        *filter =
            json!({ "name": name, "config_discovery": { "config_source": source, "type_urls": types } });
        let found = json!({ "@type": EXTENSION, "name": name, "typed_config": config });
        // Envoy reloads only when a file is moved there.
        let new = file.with_extension("new");
        std::fs::write(&new, json!({ "resources": [found] }).to_string()).expect("the filter's file");
        std::fs::rename(new, file).expect("the filter's file in its place");
        self
    }

    /// Whether Envoy's own ext_proc filter calls the sidecar.
    pub(super) fn calls_by_ext_proc(&self) -> bool {
        let filters = self.envoy.pointer(CONNECTION_MANAGER).and_then(|it| it["http_filters"].as_array());
        filters.is_some_and(|all| all.iter().any(|filter| filter["name"] == EXT_PROC))
    }

    pub(super) fn filter_policy(&mut self) -> &mut Value {
        let filter = self.http_filter(FILTER);
        let pointer = POLICIES.into_iter().find(|pointer| filter.pointer(pointer).is_some());
        pointer.and_then(|it| filter.pointer_mut(it)).expect("a policy in the filter's configuration")
    }

    pub(super) fn http_filter(&mut self, name: &str) -> &mut Value {
        let filters = self.at(CONNECTION_MANAGER)["http_filters"].as_array_mut();
        let filter = filters.and_then(|all| all.iter_mut().find(|filter| filter["name"] == name));
        filter.unwrap_or_else(|| panic!("the bootstrap has no filter {name}"))
    }
}

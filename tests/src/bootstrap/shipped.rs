//! The bootstraps in `envoy/`.

use std::path::Path;

use llm_router_test_support::artifacts::{Artifact, FILTER, MODULE};
use serde_json::json;

use super::{Bootstrap, LISTENER, PORT, read};
use crate::host::Host;

impl Bootstrap {
    /// `envoy/wasm.yaml`: our filter decides.
    #[must_use]
    pub fn wasm() -> Self {
        Self::with_filter("wasm.yaml")
    }

    /// `envoy/module.yaml`: our filter decides, as a dynamic module.
    #[must_use]
    pub fn module() -> Self {
        Self::with_module("module.yaml")
    }

    /// `envoy/module-shadow.yaml`: the module only reports what it would decide.
    #[must_use]
    pub fn module_shadow() -> Self {
        Self::with_module("module-shadow.yaml")
    }

    /// `envoy/module-remote.yaml`: Envoy fetches the module, with this digest (SHA-256, hexadecimal).
    #[must_use]
    pub fn module_remote(digest: &str) -> Self {
        Self::load("module-remote.yaml").filter("llm_router", |filter| {
            filter["dynamic_module_config"]["module"]["remote"]["sha256"] = json!(digest);
        })
    }

    /// `envoy/module-failover.yaml`: the module decides, and replaces a model that fails.
    #[must_use]
    pub fn module_failover() -> Self {
        Self::with_module("module-failover.yaml")
    }

    /// `envoy/shadow.yaml`: our filter only reports what it would decide.
    #[must_use]
    pub fn shadow() -> Self {
        Self::with_filter("shadow.yaml")
    }

    /// `envoy/failover.yaml`: our filter decides, and replaces a model that fails.
    #[must_use]
    pub fn failover() -> Self {
        Self::with_filter("failover.yaml")
    }

    /// `envoy/install/STEP.yaml`: a step of `docs/install-envoy.md`.
    #[must_use]
    pub fn install(step: &str) -> Self {
        Self::with_filter(&format!("install/{step}.yaml"))
    }

    /// A file in `envoy/` for a host inside Envoy: `NAME.yaml` has the Wasm filter, `module-NAME.yaml` the dynamic module.
    pub(crate) fn inside_envoy(host: Host, name: &str) -> Self {
        match host {
            Host::Wasm => Self::with_filter(&format!("{name}.yaml")),
            Host::Module => Self::with_module(&format!("module-{name}.yaml")),
            Host::ExtProc | Host::ExtProcStreamed => panic!("the sidecar is not inside Envoy"),
        }
    }

    /// `bootstrap.yaml` of the host's folder of files that change, which finds the other files in this folder.
    #[must_use]
    pub fn dynamic(host: Host, folder: &Path) -> Self {
        let mut envoy = read(&format!("{}/bootstrap.yaml", host.dynamic_folder()));
        for (source, file) in [("lds_config", "listeners.yaml"), ("cds_config", "clusters.yaml")] {
            envoy["dynamic_resources"][source]["path_config_source"]["path"] = json!(folder.join(file));
        }
        Self { envoy, sidecar_policy: None }.with(&format!("/admin{PORT}"), 0)
    }

    /// `envoy/native.yaml`: Envoy's ext_proc filter calls a sidecar, which decides by `envoy/policy.yaml`.
    #[must_use]
    pub fn native() -> Self {
        Self { sidecar_policy: Some(read("policy.yaml")), ..Self::load("native.yaml") }
    }

    /// `envoy/native.yaml` with a sidecar that only reports what it would decide, by the policy of `envoy/shadow.yaml`.
    #[must_use]
    pub fn native_shadow() -> Self {
        let policy = Self::load("shadow.yaml").filter_policy().clone();
        Self { sidecar_policy: Some(policy), ..Self::load("native.yaml") }
    }

    /// `envoy/native-closed.yaml`: as `native`, but without a decision nothing reaches an LLM.
    #[must_use]
    pub fn native_closed() -> Self {
        Self { sidecar_policy: Some(read("policy.yaml")), ..Self::load("native-closed.yaml") }
    }

    /// `envoy/native-streamed.yaml`: as `native`, with bodies that are streamed through the sidecar.
    #[must_use]
    pub fn native_streamed() -> Self {
        Self { sidecar_policy: Some(read("policy.yaml")), ..Self::load("native-streamed.yaml") }
    }

    /// `envoy/native-streamed.yaml` with the sidecar of [`native_shadow`](Self::native_shadow).
    #[must_use]
    pub fn native_streamed_shadow() -> Self {
        Self { sidecar_policy: Self::native_shadow().sidecar_policy, ..Self::load("native-streamed.yaml") }
    }

    /// A file in `envoy/` that has our filter, which must be built.
    fn with_filter(name: &str) -> Self {
        Self::with_built(name, &FILTER)
    }

    /// A file in `envoy/` that has our module, which must be built.
    fn with_module(name: &str) -> Self {
        Self::with_built(name, &MODULE)
    }

    fn with_built(name: &str, artifact: &Artifact) -> Self {
        let _ = crate::fresh(artifact);
        Self::load(name)
    }

    fn load(name: &str) -> Self {
        let bootstrap = Self { envoy: read(name), sidecar_policy: None };
        bootstrap.with(&format!("{LISTENER}{PORT}"), 0).with(&format!("/admin{PORT}"), 0)
    }
}

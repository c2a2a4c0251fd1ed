//! Envoy and a scripted sidecar, for tests that need certain predictions.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::scripted_sidecar::ScriptedSidecar;
use crate::bootstrap::Bootstrap;
use crate::client::{Request, Response};
use crate::envoy::Envoy;
use crate::host::{Host, PerHost};

/// A running Envoy and its sidecar.
pub struct ScriptedGateway {
    /// The gateway.
    pub envoy: Envoy,
    /// Its sidecar.
    pub sidecar: ScriptedSidecar,
}

impl ScriptedGateway {
    /// Starts both. The sidecar decides if the bootstrap has a policy for it.
    pub async fn start(bootstrap: Bootstrap, workers: u32) -> Self {
        let sidecar = ScriptedSidecar::start(bootstrap.sidecar_policy());
        let envoy = Envoy::start_with_workers(&bootstrap.sidecar(sidecar.address), workers).await;
        Self { envoy, sidecar }
    }

    /// The gateway that many tests share, with every kind of policy and model.
    pub async fn with_every_policy(host: Host) -> &'static Self {
        static SHARED: PerHost<ScriptedGateway> = PerHost::new();
        let start = async || Self::start(host.bootstrap().with_long_timeouts().policy(add_policies), 2).await;
        SHARED.get_or_start(host, start).await
    }

    /// Sends a request through the gateway and reads the whole response.
    pub async fn send(&self, request: Request) -> Response {
        self.envoy.send(request).await
    }

    /// The stats of the host that decides, as Prometheus gets them.
    pub async fn stats(&self) -> HashMap<String, f64> {
        if self.sidecar.decides() { self.sidecar.stats() } else { self.envoy.stats().await }
    }
}

fn add_policies(config: &mut Value) {
    let models = &mut config["models"];
    models["llama-8b"]["capabilities"] = json!([]);
    models["llama-8b"]["context"] = json!("1k");
    models["llama-70b"]["capabilities"] = json!(["tools"]);
    models["nemotron"]["capabilities"] = json!(["tools", "json", "reasoning"]);
    models["nemotron"]["context"] = json!("4k");
    models["claude"] = json!({ "cluster": "nemotron", "model": "claude-sonnet", "api": "anthropic" });
    models["hosted"] = json!({
        "cluster": "llama-70b", "model": "vendor/hosted", "base_path": "/openai/deployments/x",
        "host": "api.vendor.example",
    });
    let policies = [
        (
            "complexity",
            json!({ "classifier": "complexity", "bands": [
                { "up_to": 0.3, "model": "llama-8b" }, { "up_to": 0.6, "model": "llama-70b" }, { "model": "nemotron" },
            ] }),
        ),
        (
            "two_bands",
            json!({ "classifier": "complexity", "bands": [
                { "up_to": 0.5, "model": "llama-8b" }, { "model": "nemotron" },
            ] }),
        ),
        (
            "dimensions",
            json!({
                "classifier": "complexity", "routes": { "creativity_scope": "llama-70b", "reasoning": "nemotron" },
                "default": "llama-8b",
            }),
        ),
        (
            "cheapest",
            json!({
                "classifier": "task", "routes": { "Chatbot": "llama-8b", "Code Generation": "nemotron" },
                "default": "llama-70b",
            }),
        ),
        (
            "fallback",
            json!({
                "classifier": "task", "routes": { "Chatbot": "llama-8b" }, "default": "llama-8b",
                "fallback": ["nemotron", "llama-70b"],
            }),
        ),
        (
            "split",
            json!({
                "classifier": "task", "routes": {},
                "default": [{ "model": "llama-8b", "weight": 1 }, { "model": "llama-70b", "weight": 1 }],
            }),
        ),
        ("claude_only", json!({ "classifier": "task", "routes": {}, "default": "claude" })),
    ];
    for (name, policy) in policies {
        config["policies"][name] = policy;
    }
    config["rules"] = json!([
        { "when": { "header": { "x-tenant": "acme" } }, "policy": "cheapest" },
        { "when": { "path_prefix": "/team-b/" }, "model": "llama-70b" },
        { "when": { "has_tools": true, "text_matches": "(?i)\\bsql\\b" }, "model": "nemotron" },
        { "when": { "has_tools": true }, "model": "llama-70b" },
        { "when": { "has_images": true }, "model": "nemotron" },
        { "when": { "min_tokens": "5k" }, "model": "llama-70b" },
    ]);
}

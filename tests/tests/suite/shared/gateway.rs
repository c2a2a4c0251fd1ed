//! Envoy and a sidecar that obeys: what a test needs that is about a certain answer of a classifier.

use std::collections::HashMap;

use llm_router_tests::bootstrap::{Bootstrap, Mode};
use llm_router_tests::client::{Answer, Request};
use llm_router_tests::envoy::Envoy;

use crate::MODE;
use crate::obedient_sidecar::ObedientSidecar;

pub(crate) struct Gateway {
    pub(crate) envoy: Envoy,
    pub(crate) sidecar: ObedientSidecar,
}

impl Gateway {
    /// Starts both; the sidecar decides if the bootstrap has a policy for it.
    pub(crate) async fn start(bootstrap: Bootstrap, workers: u32) -> Self {
        let sidecar = ObedientSidecar::start(bootstrap.sidecar_policy());
        let envoy = Envoy::start_with_workers(&bootstrap.sidecar(sidecar.address), workers).await;
        Self { envoy, sidecar }
    }

    pub(crate) async fn send(&self, request: Request) -> Answer {
        self.envoy.send(request).await
    }

    /// The stats of whoever decides, as Prometheus gets them.
    pub(crate) async fn stats(&self) -> HashMap<String, f64> {
        match MODE {
            Mode::Wasm => self.envoy.stats().await,
            Mode::Native => self.sidecar.stats(),
        }
    }
}

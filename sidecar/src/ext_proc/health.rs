//! Reports whether the classifier works, as gRPC health, in the log and in the metrics.

use std::time::Duration;

use tokio::time::sleep;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::ReloadableService;

/// How often the workers are counted.
const INTERVAL: Duration = Duration::from_secs(1);

/// Sets the status of our service, and of the server as a whole.
pub(super) async fn set(health: &HealthReporter, status: ServingStatus) {
    for service in [llm_router_proto::SERVICE, ""] {
        health.set_service_status(service, status).await;
    }
}

/// Reports every change, without end. The status is expected to be "serving" at the start.
pub(super) async fn report(health: &HealthReporter, service: &ReloadableService) {
    let mut was_healthy = true;
    loop {
        let current = service.current();
        current.metrics.workers.set(i64::try_from(current.pipeline.workers_alive()).unwrap_or(i64::MAX));
        let healthy = current.pipeline.is_healthy();
        if healthy && !was_healthy {
            tracing::info!("the classifier works again: ready");
            set(health, ServingStatus::Serving).await;
        } else if !healthy && was_healthy {
            tracing::error!("the classifier's workers have died: not ready until the model is reloaded");
            set(health, ServingStatus::NotServing).await;
        }
        was_healthy = healthy;
        drop(current);
        sleep(INTERVAL).await;
    }
}

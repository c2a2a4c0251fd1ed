//! The classifier for operators: their requests never take users' places in the queue.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::error::Error;
use crate::ext_proc::{ReloadableService, Service};

/// The number of requests that are classified at the same time.
const AT_ONCE: usize = 2;

/// The time limit for waiting for other requests, and then for the classification.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// The service once it is loaded, and permits for its use.
pub(super) struct Background {
    service: Arc<OnceLock<ReloadableService>>,
    room: Semaphore,
}

impl Background {
    pub(super) fn new(service: Arc<OnceLock<ReloadableService>>) -> Self {
        Self { service, room: Semaphore::new(AT_ONCE) }
    }

    /// The service, for requests that need no classification.
    pub(super) fn current(&self) -> Result<Arc<Service>, Error> {
        Ok(self.service.get().ok_or(Error::Loading)?.current())
    }

    /// The service, for one request: until the permit is dropped.
    pub(super) async fn service(&self) -> Result<(Service, SemaphorePermit<'_>), Error> {
        let service = self.service.get().ok_or(Error::Loading)?;
        let permit = timeout(TIMEOUT, self.room.acquire()).await;
        let permit = permit.ok().and_then(Result::ok).ok_or(Error::Busy)?;
        let service = Service::clone(&service.current());
        Ok((Service { pipeline: service.pipeline.in_background(), ..service }, permit))
    }
}

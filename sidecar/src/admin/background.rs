//! Processes operators' requests on separate threads, so that they take neither slots in the classifier's
//! queue nor threads from users' requests.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::error::Error;
use crate::ext_proc::{ReloadableService, Service};

/// The number of requests that are processed at the same time.
const AT_ONCE: usize = 2;

/// The time limit for waiting for other requests, and then for the classifier.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// The service once it is loaded, and permits for its requests.
pub(super) struct Background {
    service: Arc<OnceLock<ReloadableService>>,
    room: Arc<Semaphore>,
}

impl Background {
    pub(super) fn new(service: Arc<OnceLock<ReloadableService>>) -> Self {
        Self { service, room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The service, for requests that need no classification.
    pub(super) fn current(&self) -> Result<Arc<Service>, Error> {
        Ok(self.service.get().ok_or(Error::Loading)?.current())
    }

    /// Processes one request. Work that has started continues, and keeps its permit, even if the client
    /// disconnects.
    pub(super) async fn run<T, F>(&self, work: impl FnOnce(Service) -> F + Send + 'static) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>>,
    {
        let service = self.service.get().ok_or(Error::Loading)?.clone();
        let permit = timeout(TIMEOUT, Arc::clone(&self.room).acquire_owned()).await;
        let permit = permit.ok().and_then(Result::ok).ok_or(Error::Busy)?;
        let runtime = Handle::current();
        let done = spawn_blocking(move || {
            let _permit = permit;
            let service = Service::clone(&service.current());
            let service = Service { pipeline: service.pipeline.in_background(), ..service };
            runtime.block_on(work(service))
        });
        done.await.map_err(|_| Error::Panic)?
    }
}

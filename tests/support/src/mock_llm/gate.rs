//! Lets a test decide when a mock LLM sends the next piece of a stream.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Holds back one request's stream until the test lets pieces through.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A gate that lets nothing through yet.
    pub(super) fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets the next `pieces` through.
    pub fn release(&self, pieces: usize) {
        self.0.add_permits(pieces);
    }

    /// Lets everything that is still to come through.
    pub fn open(&self) {
        self.0.close();
    }

    pub(super) async fn pass(&self) {
        // An error means that the gate stays open.
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

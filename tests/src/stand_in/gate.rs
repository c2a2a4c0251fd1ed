//! Lets a test decide when a stand-in sends the next piece of a stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

/// Holds back one request's stream until the test lets pieces through.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// Lets the next `pieces` through.
    pub fn release(&self, pieces: usize) {
        self.0.add_permits(pieces);
    }

    /// Lets all that is still to come through.
    pub fn open(&self) {
        self.0.close();
    }

    pub(super) async fn pass(&self) {
        // An error says that the gate is open for good.
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

/// The gates by the [`TEST_ID`](super::TEST_ID) of the request that each holds.
#[derive(Debug, Default)]
pub struct Gates(Mutex<HashMap<String, Gate>>);

impl Gates {
    /// A closed gate for the request with this id.
    #[must_use]
    pub fn hold(&self, id: &str) -> Gate {
        let gate = Gate(Arc::new(Semaphore::new(0)));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), gate.clone());
        gate
    }

    pub(super) fn find(&self, id: &str) -> Option<Gate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

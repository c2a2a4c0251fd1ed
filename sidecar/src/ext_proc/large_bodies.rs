//! Limits how many large bodies are read at the same time. One core always stays free, and no body waits so
//! long that Envoy would continue without a response.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// Bodies shorter than this, in bytes, take less than a millisecond, and need no turn.
pub(super) const LARGE: usize = 256 << 10;

/// The maximum time that a body waits for its turn. It is much shorter than the `message_timeout` of every
/// shipped configuration, after which Envoy may let the request bypass the policy.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// The turns of large bodies.
pub(super) struct LargeBodies {
    room: Semaphore,
    longest_wait: Duration,
}

/// A body that may be read now, until this is dropped.
pub(super) struct Turn<'a> {
    _permit: Option<SemaphorePermit<'a>>,
}

impl LargeBodies {
    /// One core is left for everything else, unless there is only one.
    pub(super) fn new() -> Self {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        Self { room: Semaphore::new(cores.saturating_sub(1).max(1)), longest_wait: LONGEST_WAIT }
    }

    /// Turns that are all taken.
    #[cfg(test)]
    pub(super) fn busy() -> Self {
        Self { room: Semaphore::new(0), longest_wait: Duration::from_millis(1) }
    }

    /// Waits until a body of this many bytes may be read; none if that takes too long.
    pub(super) async fn turn(&self, length: usize) -> Option<Turn<'_>> {
        if length < LARGE {
            return Some(Turn { _permit: None });
        }
        let permit = timeout(self.longest_wait, self.room.acquire()).await.ok()?.ok()?;
        Some(Turn { _permit: Some(permit) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_at_a_time(longest_wait: Duration) -> LargeBodies {
        LargeBodies { room: Semaphore::new(1), longest_wait }
    }

    #[tokio::test]
    async fn a_large_body_waits_until_the_one_before_is_read() {
        let bodies = one_at_a_time(Duration::from_secs(3600));
        let first = bodies.turn(LARGE).await;
        assert!(first.is_some() && bodies.turn(LARGE - 1).await.is_some());
        let (second, ()) = tokio::join!(bodies.turn(LARGE), async { drop(first) });
        assert!(second.is_some());
    }

    #[tokio::test]
    async fn a_large_body_does_not_wait_for_ever() {
        let bodies = one_at_a_time(Duration::from_millis(1));
        let _first = bodies.turn(LARGE).await;
        assert!(bodies.turn(LARGE).await.is_none());
    }
}

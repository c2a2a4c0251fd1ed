//! Bounds the memory of bodies that are being received or processed, over all streams together.
//!
//! Each message is bounded, and so is the queue; but ten thousand streams that bring half a megabyte each would still be
//! more than a container has.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use llm_router_proto::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::telemetry::metrics::{Metrics, Outcome};

/// Bytes of one semaphore permit. At most `u32::MAX` permits can be acquired at once, which would be too few of one byte.
const PERMIT_BYTES: usize = 1024;

/// The memory that the bodies of all streams share. Clones share it, too.
#[derive(Clone)]
pub(super) struct BodyMemory(Arc<Semaphore>);

impl BodyMemory {
    /// A limit in bytes, rounded down to whole permits.
    pub(super) fn new(limit: usize) -> Self {
        Self(Arc::new(Semaphore::new((limit / PERMIT_BYTES).min(Semaphore::MAX_PERMITS))))
    }

    /// The permit of one stream. It holds nothing yet; the metrics count what it acquires.
    pub(super) fn permit(&self, metrics: Arc<Metrics>) -> BodyPermit {
        let (memory, held) = (Arc::clone(&self.0), Mutex::default());
        BodyPermit(Arc::new(Inner { memory, metrics, held }))
    }
}

/// The memory that one stream holds. It is released with the last clone.
#[derive(Clone)]
pub(super) struct BodyPermit(Arc<Inner>);

struct Inner {
    memory: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: usize,
    /// Enough permits for the bytes: small frames share one.
    permits: Option<OwnedSemaphorePermit>,
}

impl BodyPermit {
    /// Acquires memory for these bytes, too, if there is enough left.
    fn acquire(&self, bytes: usize) -> Result<(), Status> {
        let Inner { memory, metrics, held } = &*self.0;
        if held.lock().acquire(memory, bytes) {
            metrics.body_bytes.inc_by(gauge(bytes));
            return Ok(());
        }
        metrics.request().end(Outcome::Overloaded);
        Err(Status::resource_exhausted("too many bodies are being processed"))
    }

    /// Holds these bytes in place of what was acquired so far: the message that it was acquired for is processed.
    ///
    /// # Errors
    /// If that is more than before, because frames of further messages came with it, and there is not enough left.
    pub(super) fn hold(&self, bytes: usize) -> Result<(), Status> {
        let Inner { metrics, held, .. } = &*self.0;
        let (released, missing) = held.lock().keep(bytes);
        metrics.body_bytes.dec_by(gauge(released));
        if missing > 0 { self.acquire(missing) } else { Ok(()) }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.metrics.body_bytes.dec_by(gauge(self.held.get_mut().bytes));
    }
}

impl Held {
    /// Returns whether there were enough permits.
    fn acquire(&mut self, memory: &Arc<Semaphore>, bytes: usize) -> bool {
        let total = self.bytes.saturating_add(bytes);
        let held = self.permits.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = u32::try_from(total.div_ceil(PERMIT_BYTES).saturating_sub(held));
        let acquired =
            missing.ok().and_then(|missing| Arc::clone(memory).try_acquire_many_owned(missing).ok());
        let Some(acquired) = acquired else { return false };
        match &mut self.permits {
            Some(permits) => permits.merge(acquired),
            None => self.permits = Some(acquired),
        }
        self.bytes = total;
        true
    }

    /// Returns how many bytes are not held any more, or how many are missing.
    fn keep(&mut self, bytes: usize) -> (usize, usize) {
        let missing = bytes.saturating_sub(self.bytes);
        let released = self.bytes.saturating_sub(bytes);
        self.bytes -= released;
        if let Some(permits) = &mut self.permits {
            let surplus = permits.num_permits().saturating_sub(self.bytes.div_ceil(PERMIT_BYTES));
            // What is split off is dropped.
            drop(permits.split(surplus));
        }
        (released, missing)
    }
}

/// What is held is bounded by the machine's memory, which a gauge can count.
fn gauge(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A stream's body, which acquires memory as it arrives.
pub(super) struct MeteredBody {
    pub(super) body: tonic::body::Body,
    pub(super) permit: BodyPermit,
}

impl Body for MeteredBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(status) = self.permit.acquire(data.len())
        {
            return Poll::Ready(Some(Err(status)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(metrics: &Metrics) -> i64 {
        metrics.body_bytes.get()
    }

    #[test]
    fn frames_share_permits_and_the_last_clone_releases_them() {
        let (memory, metrics) = (BodyMemory::new(PERMIT_BYTES), Arc::new(Metrics::new()));
        let permit = memory.permit(metrics.clone());
        for _ in 0..PERMIT_BYTES {
            permit.acquire(1).unwrap();
        }
        assert_eq!(held(&metrics), 1024);
        assert_eq!(permit.acquire(1).unwrap_err().code(), tonic::Code::ResourceExhausted);
        assert_eq!(held(&metrics), 1024, "rejected bytes are not held");

        let other = memory.permit(metrics.clone());
        assert!(other.acquire(1).is_err());
        permit.hold(0).unwrap();
        other.acquire(1).unwrap();
        assert!(permit.clone().acquire(1).is_err());
        drop(other);
        assert_eq!(held(&metrics), 0);
        permit.acquire(1).unwrap();
    }

    #[test]
    fn what_is_kept_stays_held() {
        let (memory, metrics) = (BodyMemory::new(4 * PERMIT_BYTES), Arc::new(Metrics::new()));
        let permit = memory.permit(metrics.clone());
        permit.acquire(4 * PERMIT_BYTES).unwrap();
        permit.hold(PERMIT_BYTES + 1).unwrap();
        assert_eq!(held(&metrics), 1025);
        let other = memory.permit(metrics.clone());
        other.acquire(2 * PERMIT_BYTES).unwrap();
        assert!(other.acquire(1).is_err());
        permit.hold(2 * PERMIT_BYTES).unwrap();
        assert!(permit.hold(2 * PERMIT_BYTES + 1).is_err());
        assert_eq!(held(&metrics), 4096);
        drop(permit);
        other.acquire(2 * PERMIT_BYTES).unwrap();
        drop(other);
        assert_eq!(held(&metrics), 0);
    }

    #[test]
    fn the_limit_counts_the_bytes_of_all_metrics_together() {
        let memory = BodyMemory::new(10 * PERMIT_BYTES);
        let of = || memory.permit(Arc::new(Metrics::new()));
        let (first, second) = (of(), of());
        first.acquire(6 * PERMIT_BYTES).unwrap();
        assert!(second.acquire(6 * PERMIT_BYTES).is_err());
    }

    #[test]
    fn limits_and_bodies_of_any_size_are_counted_without_overflow() {
        let metrics = Arc::new(Metrics::new());
        // More than u32::MAX permits.
        let permit = BodyMemory::new(usize::MAX).permit(metrics.clone());
        permit.acquire(1 << 40).unwrap();
        permit.acquire(1 << 40).unwrap();
        for bytes in [usize::MAX, usize::MAX / 2, 1 << 60] {
            assert!(permit.acquire(bytes).is_err(), "{bytes}");
        }
        assert_eq!(held(&metrics), 2 << 40);
        permit.acquire(1).unwrap();
    }
}

//! Bounds the memory of bodies that are being received or processed, over all streams together.
//!
//! Limits on each message and on the queue are not enough: ten thousand streams with half a megabyte each
//! exceed the memory of a container.
//!
//! Small messages that are not request bodies, such as the response headers of requests that are already routed, have memory of
//! their own. So they get their responses while other requests' bodies take all of the memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use llm_router_proto::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::grpc_frames::{Arrived, GrpcFrames};
use crate::telemetry::metrics::{Metrics, Outcome};

/// Bytes of one semaphore permit. At most `u32::MAX` permits can be acquired at once, which is too few for
/// permits of one byte.
const PERMIT_BYTES: usize = 1024;

/// The memory of small messages that are not request bodies, in addition to the limit. They take some only until they are
/// processed, so this is enough for thousands at a time.
const SMALL_MESSAGES: usize = 16 << 20;

/// The memory that all streams share. Clones share it, too.
#[derive(Clone)]
pub(super) struct BodyMemory {
    bodies: Arc<Semaphore>,
    small: Arc<Semaphore>,
}

impl BodyMemory {
    /// A limit in bytes, rounded down to whole permits.
    pub(super) fn new(limit: usize) -> Self {
        Self { bodies: pool(limit), small: pool(SMALL_MESSAGES) }
    }

    /// The permit of one stream. It holds nothing yet; the metrics count what it acquires.
    pub(super) fn permit(&self, metrics: Arc<Metrics>) -> BodyPermit {
        let (bodies, small) = (Held::new(&self.bodies), Held::new(&self.small));
        BodyPermit(Arc::new(Inner { metrics, held: Mutex::new(HeldByStream { bodies, small }) }))
    }
}

fn pool(bytes: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new((bytes / PERMIT_BYTES).min(Semaphore::MAX_PERMITS)))
}

/// The memory that one stream holds. It is released with the last clone.
#[derive(Clone)]
pub(super) struct BodyPermit(Arc<Inner>);

struct Inner {
    metrics: Arc<Metrics>,
    held: Mutex<HeldByStream>,
}

struct HeldByStream {
    bodies: Held,
    small: Held,
}

/// The memory that one stream holds of a pool.
struct Held {
    pool: Arc<Semaphore>,
    bytes: usize,
    /// Enough permits for the bytes: small frames share one.
    permits: Option<OwnedSemaphorePermit>,
}

impl BodyPermit {
    /// Acquires memory for this many more bytes, if enough is left.
    fn acquire(&self, arrived: &Arrived) -> Result<(), Status> {
        let Inner { metrics, held } = &*self.0;
        if held.lock().acquire(arrived) {
            metrics.body_bytes.inc_by(gauge(arrived.bodies + arrived.small));
            return Ok(());
        }
        metrics.request().end(Outcome::Overloaded);
        Err(Status::resource_exhausted("too many bodies are being processed"))
    }

    /// Changes the permit to this number of bytes, once the message that it was acquired for is processed.
    ///
    /// # Errors
    /// If the number is higher than before, because frames of further messages have arrived or because a body takes more memory
    /// than its bytes, and not enough memory is left.
    pub(super) fn hold(&self, bytes: usize) -> Result<(), Status> {
        let Inner { metrics, held } = &*self.0;
        let (released, missing) = held.lock().keep(bytes);
        metrics.body_bytes.dec_by(gauge(released));
        if missing > 0 { self.acquire(&Arrived { bodies: missing, small: 0 }) } else { Ok(()) }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.metrics.body_bytes.dec_by(gauge(self.held.get_mut().bytes()));
    }
}

impl HeldByStream {
    fn bytes(&self) -> usize {
        self.bodies.bytes + self.small.bytes
    }

    /// Returns whether there were enough permits. Small messages may take those of bodies.
    fn acquire(&mut self, arrived: &Arrived) -> bool {
        let before = self.bodies.bytes;
        if !self.bodies.acquire(arrived.bodies) {
            return false;
        }
        let acquired = self.small.acquire(arrived.small) || self.bodies.acquire(arrived.small);
        if !acquired {
            self.bodies.keep(before);
        }
        acquired
    }

    /// Keeps this much memory of bodies. Returns how many bytes are not held any more, and how many are missing.
    fn keep(&mut self, bytes: usize) -> (usize, usize) {
        let (of_bodies, missing) = self.bodies.keep(bytes);
        let (of_small, _) = self.small.keep(0);
        (of_bodies + of_small, missing)
    }
}

impl Held {
    fn new(pool: &Arc<Semaphore>) -> Self {
        Self { pool: Arc::clone(pool), bytes: 0, permits: None }
    }

    /// Returns whether there were enough permits.
    fn acquire(&mut self, bytes: usize) -> bool {
        let total = self.bytes.saturating_add(bytes);
        let held = self.permits.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = u32::try_from(total.div_ceil(PERMIT_BYTES).saturating_sub(held));
        let acquired =
            missing.ok().and_then(|missing| Arc::clone(&self.pool).try_acquire_many_owned(missing).ok());
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
            drop(permits.split(surplus));
        }
        (released, missing)
    }
}

/// Does not overflow: the machine's memory bounds the held bytes.
fn gauge(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A stream's body, which acquires memory as it arrives.
pub(super) struct MeteredBody {
    body: tonic::body::Body,
    frames: GrpcFrames,
    permit: BodyPermit,
}

impl MeteredBody {
    /// A body that takes the memory of this permit.
    pub(super) fn new(body: tonic::body::Body, permit: BodyPermit) -> Self {
        Self { body, frames: GrpcFrames::default(), permit }
    }
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
        {
            let arrived = self.frames.count(data);
            if let Err(status) = self.permit.acquire(&arrived) {
                return Poll::Ready(Some(Err(status)));
            }
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

    impl BodyPermit {
        fn acquire_body(&self, bytes: usize) -> Result<(), Status> {
            self.acquire(&Arrived { bodies: bytes, small: 0 })
        }

        fn acquire_small(&self, bytes: usize) -> Result<(), Status> {
            self.acquire(&Arrived { bodies: 0, small: bytes })
        }
    }

    #[test]
    fn frames_share_permits_and_the_last_clone_releases_them() {
        let (memory, metrics) = (BodyMemory::new(PERMIT_BYTES), Arc::new(Metrics::new()));
        let permit = memory.permit(metrics.clone());
        for _ in 0..PERMIT_BYTES {
            permit.acquire_body(1).unwrap();
        }
        assert_eq!(held(&metrics), 1024);
        assert_eq!(permit.acquire_body(1).unwrap_err().code(), tonic::Code::ResourceExhausted);
        assert_eq!(held(&metrics), 1024, "rejected bytes are not held");

        let other = memory.permit(metrics.clone());
        assert!(other.acquire_body(1).is_err());
        permit.hold(0).unwrap();
        other.acquire_body(1).unwrap();
        assert!(permit.clone().acquire_body(1).is_err());
        drop(other);
        assert_eq!(held(&metrics), 0);
        permit.acquire_body(1).unwrap();
    }

    #[test]
    fn what_is_kept_stays_held() {
        let (memory, metrics) = (BodyMemory::new(4 * PERMIT_BYTES), Arc::new(Metrics::new()));
        let permit = memory.permit(metrics.clone());
        permit.acquire_body(4 * PERMIT_BYTES).unwrap();
        permit.hold(PERMIT_BYTES + 1).unwrap();
        assert_eq!(held(&metrics), 1025);
        let other = memory.permit(metrics.clone());
        other.acquire_body(2 * PERMIT_BYTES).unwrap();
        assert!(other.acquire_body(1).is_err());
        permit.hold(2 * PERMIT_BYTES).unwrap();
        assert!(permit.hold(2 * PERMIT_BYTES + 1).is_err());
        assert_eq!(held(&metrics), 4096);
        drop(permit);
        other.acquire_body(2 * PERMIT_BYTES).unwrap();
        drop(other);
        assert_eq!(held(&metrics), 0);
    }

    #[test]
    fn the_limit_counts_the_bytes_of_all_metrics_together() {
        let memory = BodyMemory::new(10 * PERMIT_BYTES);
        let of = || memory.permit(Arc::new(Metrics::new()));
        let (first, second) = (of(), of());
        first.acquire_body(6 * PERMIT_BYTES).unwrap();
        assert!(second.acquire_body(6 * PERMIT_BYTES).is_err());
    }

    #[test]
    fn limits_and_bodies_of_any_size_are_counted_without_overflow() {
        let metrics = Arc::new(Metrics::new());
        // More than u32::MAX permits.
        let permit = BodyMemory::new(usize::MAX).permit(metrics.clone());
        permit.acquire_body(1 << 40).unwrap();
        permit.acquire_body(1 << 40).unwrap();
        for bytes in [usize::MAX, usize::MAX / 2, 1 << 60] {
            assert!(permit.acquire_body(bytes).is_err(), "{bytes}");
        }
        assert_eq!(held(&metrics), 2 << 40);
        permit.acquire_body(1).unwrap();
    }

    #[test]
    fn small_messages_need_no_memory_of_bodies_while_they_have_their_own() {
        let (memory, metrics) = (BodyMemory::new(4 * PERMIT_BYTES), Arc::new(Metrics::new()));
        let body = memory.permit(metrics.clone());
        body.acquire_body(4 * PERMIT_BYTES).unwrap();
        let headers = memory.permit(metrics.clone());
        headers.acquire_small(100).unwrap();
        assert!(headers.acquire_body(1).is_err());
        assert_eq!(held(&metrics), 4196);
        headers.hold(0).unwrap();
        assert_eq!(held(&metrics), 4096);

        headers.acquire_small(SMALL_MESSAGES).unwrap();
        let others = memory.permit(metrics.clone());
        assert!(others.acquire_small(1).is_err(), "both are full");
        body.hold(0).unwrap();
        others.acquire_small(1).unwrap();
        assert!(body.acquire_body(4 * PERMIT_BYTES).is_err());
        drop((headers, others));
        assert_eq!(held(&metrics), 0);
    }

    #[test]
    fn what_cannot_be_acquired_together_is_not_acquired_at_all() {
        let (memory, metrics) = (BodyMemory::new(2 * PERMIT_BYTES), Arc::new(Metrics::new()));
        let (first, second) = (memory.permit(metrics.clone()), memory.permit(metrics.clone()));
        assert!(first.acquire(&Arrived { bodies: PERMIT_BYTES, small: 2 * SMALL_MESSAGES }).is_err());
        assert_eq!(held(&metrics), 0);
        second.acquire_body(2 * PERMIT_BYTES).unwrap();
    }
}

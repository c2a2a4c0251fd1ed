//! How much memory bodies may take that are being received or processed, of all streams together.
//!
//! One message is bounded, and so is the queue; but ten thousand streams that each bring half a megabyte would still be
//! more than a container has.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use llm_router_proto::Bytes;
use tonic::Status;

use crate::telemetry::metrics::{Metrics, Outcome};

/// What one stream holds of the memory. It is given back with the last clone.
#[derive(Clone)]
pub(super) struct Held(Arc<Inner>);

struct Inner {
    bytes: AtomicUsize,
    limit: usize,
    metrics: Arc<Metrics>,
}

impl Held {
    /// Nothing, of this much.
    pub(super) fn new(limit: usize, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner { bytes: AtomicUsize::new(0), limit, metrics }))
    }

    /// Takes memory, if there is so much left.
    fn take(&self, bytes: usize) -> Result<(), Status> {
        let before = self.0.metrics.body_bytes.inc_by(bytes as i64);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before as usize + bytes <= self.0.limit {
            return Ok(());
        }
        self.0.metrics.request().end(Outcome::Overloaded);
        Err(Status::resource_exhausted("too many bodies are being processed"))
    }

    /// Gives back what was taken so far: the message that it was taken for is gone.
    pub(super) fn release(&self) {
        self.0.release();
    }
}

impl Inner {
    fn release(&self) {
        self.metrics.body_bytes.dec_by(self.bytes.swap(0, Ordering::Relaxed) as i64);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.release();
    }
}

/// A stream's bytes, which take memory as they arrive.
pub(super) struct Counted {
    pub(super) body: tonic::body::Body,
    pub(super) held: Held,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(status) = self.held.take(data.len())
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

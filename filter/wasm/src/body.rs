//! A request's body in Envoy's buffer. Large ones stay there while the sidecar is called: a VM's memory never shrinks
//! again.

use llm_router_routing::rewrite::Rewritten;

use crate::host;

/// Bodies up to this many bytes are copied once. A thousand of them that wait need 16 MiB.
const SMALL: usize = 16 << 10;

/// The buffered body, with headroom in front of it if it needs some.
///
/// Envoy responds with 413 at once when a filter makes a buffered body larger than its limit. That response
/// enters the VM while it runs, which traps it, and then Envoy crashes. So a buffered body gets the headroom
/// that its rewriting can need with its first chunk, when Envoy can still reject it safely, and never grows
/// later. A body that arrives in one chunk needs no headroom, unless it has to wait.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BufferedBody {
    /// The maximum growth by rewriting, in bytes.
    growth: usize,
    /// The length that the request headers announce.
    announced: Option<usize>,
    /// The added headroom; none before the first chunk.
    headroom: Option<usize>,
}

impl BufferedBody {
    /// A body before its first chunk.
    pub(crate) fn new(growth: usize, announced: Option<usize>) -> Self {
        Self { growth, announced, headroom: None }
    }

    /// The length that has arrived, by Envoy's count of bytes.
    pub(crate) fn length(&self, buffered: usize) -> usize {
        buffered.saturating_sub(self.headroom.unwrap_or(0))
    }

    /// Records a chunk, in its callback, and returns whether the body is complete with this length.
    pub(crate) fn on_chunk(&mut self, length: usize, end_of_stream: bool) -> bool {
        // Envoy's HTTP/1 reports the end apart from the last chunk, but holds clients to the length that they announce.
        let is_complete = end_of_stream || self.announced == Some(length);
        if self.headroom.is_none() {
            self.headroom = Some(0);
            if !is_complete {
                self.reserve();
            }
        }
        is_complete
    }

    /// Makes headroom for a body that has to wait, in the callback of a chunk.
    pub(crate) fn reserve(&mut self) {
        if self.headroom == Some(0) && self.growth > 0 {
            host::prepend_to_request_body(&vec![b' '; self.growth]);
            self.headroom = Some(self.growth);
        }
    }

    /// The whole body, once it is complete.
    pub(crate) fn copy(&self) -> BodyCopy {
        BodyCopy { buffered: host::request_body(), headroom: self.headroom.unwrap_or(0) }
    }

    /// Replaces the body by the rewritten one: bytes after the last change stay in Envoy's buffer. `copy` is the body, if
    /// there is a copy of it.
    pub(crate) fn rewrite(&self, rewritten: &Rewritten, copy: Option<&BodyCopy>) {
        let headroom = self.headroom.unwrap_or(0);
        let changes = rewritten.last_change();
        let replacement = match copy.and_then(|copy| copy.bytes().get(..changes)) {
            Some(original) => rewritten.apply(original),
            None => rewritten.apply(&host::part_of_request_body(headroom, changes)),
        };
        host::replace_start_of_request_body(headroom + changes, &replacement);
    }

    /// Removes the headroom from a request that is forwarded unchanged.
    pub(crate) fn restore(&self) {
        if let Some(headroom) = self.headroom.filter(|headroom| *headroom > 0) {
            host::replace_start_of_request_body(headroom, &[]);
        }
    }
}

/// A copy of the buffered body.
pub(crate) struct BodyCopy {
    buffered: Vec<u8>,
    headroom: usize,
}

impl BodyCopy {
    /// The body as the client sent it.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffered.get(self.headroom..).unwrap_or_default()
    }

    /// The copy of a small body only.
    pub(crate) fn if_small(self) -> Option<Self> {
        (self.buffered.len() <= SMALL).then_some(self)
    }
}

impl AsRef<[u8]> for BodyCopy {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

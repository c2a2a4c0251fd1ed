//! A request's body in Envoy's buffer, where all but small ones are left while the sidecar is asked: a VM's memory
//! never shrinks again.

use llm_router_routing::admission::check_size;
use llm_router_routing::rejection::Rejection;

use crate::host;

/// What a body may have, in bytes, to be copied but once. A thousand that wait need 16 MiB.
const SMALL: usize = 16 << 10;

/// The buffered body, with room in front of it if it needs some.
///
/// Envoy answers 413 at once when a filter makes a buffered body larger than its limit. That answer enters the VM while
/// it runs, which traps it, and then Envoy crashes. So a body that is buffered gets the room that its rewriting can need
/// with its first piece, when Envoy can still refuse it safely, and never grows later. A body whose first piece is all
/// of it needs no room, unless it has to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body {
    /// What its rewriting can need, in bytes.
    growth: usize,
    /// The length that the request's head announces.
    announced: Option<usize>,
    /// The room that was made; none before the first piece has come.
    room: Option<usize>,
}

impl Body {
    /// A body of which nothing has come yet.
    pub(crate) fn new(growth: usize, announced: Option<usize>) -> Self {
        Self { growth, announced, room: None }
    }

    /// Takes note of a piece, in its callback, and tells whether the body is complete. `buffered` is Envoy's count of
    /// bytes.
    ///
    /// # Errors
    /// The body is over `max_body` bytes already.
    pub(crate) fn piece(
        &mut self,
        buffered: usize,
        end_of_stream: bool,
        max_body: usize,
    ) -> Result<bool, Rejection> {
        let length = buffered.saturating_sub(self.room.unwrap_or(0));
        check_size(length, max_body)?;
        // Envoy's HTTP/1 tells the end apart from the last piece, but holds clients to the length that they announce.
        let is_complete = end_of_stream || self.announced == Some(length);
        if self.room.is_none() {
            self.room = Some(0);
            if !is_complete {
                self.make_room();
            }
        }
        Ok(is_complete)
    }

    /// Lets the body wait, in the callback of a piece.
    pub(crate) fn make_room(&mut self) {
        if self.room == Some(0) && self.growth > 0 {
            host::prepend_to_request_body(&vec![b' '; self.growth]);
            self.room = Some(self.growth);
        }
    }

    /// The whole body, once it is complete, after the room.
    pub(crate) fn read(self) -> Read {
        Read { buffered: host::request_body(), room: self.room.unwrap_or(0) }
    }
}

/// A copy of the buffered body.
pub(crate) struct Read {
    buffered: Vec<u8>,
    room: usize,
}

impl Read {
    /// The body as the client sent it.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffered.get(self.room..).unwrap_or_default()
    }

    /// Keeps the copy of a small body only.
    pub(crate) fn if_small(self) -> Option<Self> {
        (self.buffered.len() <= SMALL).then_some(self)
    }

    /// Takes the room away again, from a request that goes on as it was sent.
    pub(crate) fn restore(&self) {
        if self.room > 0 {
            host::set_request_body(self.bytes());
        }
    }
}

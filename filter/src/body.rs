//! A request's body in Envoy's buffer, where it is left while the sidecar is asked: a VM's memory never shrinks again.

use llm_router_routing::admission::check_size;
use llm_router_routing::refusal::Refusal;

use crate::host;

/// The buffered body, with room in front of it.
///
/// Envoy answers 413 at once when a filter makes a buffered body larger than its limit. That answer enters the VM while
/// it runs, which traps it, and then Envoy crashes. So the body gets the room that its rewriting can need with its first
/// piece, when Envoy can still refuse it safely, and never grows later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body {
    room: Room,
}

#[derive(Clone, Copy, Debug)]
enum Room {
    Wanted(usize),
    Made(usize),
}

impl Body {
    /// A body of which nothing has come yet, and its need of room in bytes.
    pub(crate) fn new(room: usize) -> Self {
        Self { room: Room::Wanted(room) }
    }

    /// Takes note of a piece, in its callback. `buffered` is Envoy's count of bytes.
    ///
    /// # Errors
    /// The body is over `max_body` bytes already.
    pub(crate) fn piece(&mut self, buffered: usize, max_body: usize) -> Result<(), Refusal> {
        let length = match self.room {
            Room::Wanted(room) => {
                host::prepend_to_request_body(&vec![b' '; room]);
                self.room = Room::Made(room);
                buffered
            }
            Room::Made(room) => buffered.saturating_sub(room),
        };
        check_size(length, max_body)
    }

    /// The whole body, once all of it is buffered, after the room.
    pub(crate) fn read(self) -> Read {
        let room = match self.room {
            Room::Wanted(_) => 0,
            Room::Made(room) => room,
        };
        Read { buffered: host::request_body(), room }
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

    /// Takes the room away again, from a request that goes on as it was sent.
    pub(crate) fn restore(&self) {
        if self.room > 0 {
            host::set_request_body(self.bytes());
        }
    }
}
